import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models.database.records import Trial
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.roofline import PhysicalModel
from cost_models.tuning.effort import EFFORTS, Effort
from cost_models.tuning.transfer import Plan, choose_anchors, donors, fallbacks, family, lent, plan

from ..some_kernels import argmax, convolution, depthwise, relu, residual, space

SPACE = space()
STANDARD = EFFORTS["standard"]
SHORTER = round(0.8 * STANDARD.trials)  # a search of what was lent a poor schedule


def seconds(kernel: Kernel) -> float:
    return 5e-6 + kernel.macs / 20e9 + kernel.bytes_moved / 10e9


def model() -> PhysicalModel:
    return PhysicalModel.fit(SPACE, [seconds(kernel) for kernel in SPACE])


def timed(schedule: str, sample_s: float) -> Trial:
    return Trial(schedule=schedule, samples_s=(sample_s,))


def test_a_family_is_what_is_done_without_sizes() -> None:
    assert family(depthwise(8, 16, 32)) == family(depthwise(72, 64, 100)) == "dw3x3+relu"
    different = [
        convolution(8, 8, 16, 32),
        convolution(8, 8, 16, 32, 3),
        convolution(8, 8, 16, 32, 3, dilation=2),
        convolution(8, 8, 16, 32, 3, stride=2),
        convolution(8, 8, 16, 32, groups=2),
        depthwise(8, 16, 32),
        depthwise(8, 16, 32, 5),
        relu(8, 16, 32),
        residual(8, 1, 3, 16, 32)[-1],
    ]
    assert len(set(map(family, different))) == len(different)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 1.0])
def test_every_family_has_an_anchor_and_the_share_is_kept(share: float) -> None:
    anchors = choose_anchors(SPACE, share)
    families = set(map(family, SPACE))
    assert set(map(family, anchors)) == families
    assert len(anchors) == len(set(anchors)) == max(math.ceil(share * len(SPACE)), len(families))


def test_small_families_share_the_anchors_of_their_kind_but_not_those_without_convolution() -> None:
    many = [convolution(channels, channels, 16, 32) for channels in (8, 16, 24, 32)]
    last = residual(16, 1, 3, 16, 32)[-1]
    anchors = choose_anchors([*many, last, argmax(16, 32), relu(8, 16, 32)], 0.01)
    assert Counter(map(family, anchors)) == Counter(["conv1x1+relu", "argmax", "relu"])


def test_the_first_anchor_is_central_and_the_next_ones_are_spread() -> None:
    row = [depthwise(2**i, 16, 16) for i in range(4, 11)]
    assert choose_anchors(row, 0.01) == [row[3]]
    outlier = depthwise(16, 1024, 1024)
    assert choose_anchors([*row, outlier], 0.01)[0] in row
    three = choose_anchors(row, 3 / len(row))
    assert max(min(abs(row.index(k) - row.index(a)) for a in three) for k in row) <= 2


def test_anchors_do_not_depend_on_the_order_of_the_kernels() -> None:
    shuffled = random.Random(0).sample(SPACE, len(SPACE))
    assert set(choose_anchors(shuffled, 0.3)) == set(choose_anchors(SPACE, 0.3))


def test_donors_are_of_the_own_family_first_and_the_nearest_first() -> None:
    near, far = convolution(16, 96, 64, 128), convolution(96, 576, 8, 16)
    other, strided = residual(16, 6, 3, 64, 128)[-1], convolution(16, 24, 64, 128, stride=2)
    anchors = [depthwise(16, 64, 128), strided, other, far, near, relu(16, 64, 128)]
    assert donors(convolution(24, 144, 32, 64), anchors) == [near, far, other, strided]


def test_nobody_lends_to_another_kind() -> None:
    anchors = [convolution(16, 96, 64, 128), relu(16, 64, 128)]
    assert donors(argmax(64, 128), anchors) == []
    assert donors(depthwise(16, 64, 128), anchors) == []


def test_the_best_of_each_donor_and_form_is_lent_first() -> None:
    first = [timed("[1]", 1.0), timed("[2]", 1.1), timed('{"3":0}', 1.2), timed("[4]", 1.6)]
    second = [timed("[5]", 3.0), Trial(schedule="[6]", error="no"), timed("[1]", 3.1)]
    assert lent([first, second]) == ["[1]", "[5]", '{"3":0}', "[2]"]
    assert lent([[], [Trial(schedule="[6]", error="no")]]) == []


def test_the_standard_plan_searches_few_kernels_and_keeps_a_reserve() -> None:
    made = plan(SPACE, STANDARD)
    assert set(made.anchors) | set(made.neighbours) == set(SPACE)
    assert not set(made.anchors) & set(made.neighbours)
    assert all(1 <= len(lenders) <= 3 for lenders in made.neighbours.values())
    assert all(set(lenders) <= set(made.anchors) for lenders in made.neighbours.values())
    assert {made.anchors[k] for k in made.anchors if k.kind != "memory"} == {STANDARD.trials}
    assert {made.anchors[k] for k in made.anchors if k.kind == "memory"} == {STANDARD.trials // 4}
    assert made.reserve >= 2 * SHORTER
    assert made.total <= EFFORTS["thorough"].trials * len(SPACE) / 5


def test_without_transfers_every_kernel_is_searched_in_full() -> None:
    made = plan(SPACE, Effort.alone(7))
    assert made.anchors == dict.fromkeys(SPACE, 7)
    assert (made.neighbours, made.total, made.reserve) == ({}, 7 * len(SPACE), 0)


@given(
    st.lists(st.sampled_from(SPACE), unique=True),
    st.integers(1, 40),
    st.integers(1, 8),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
)
@settings(deadline=None)
def test_no_plan_is_above_its_budget(
    kernels: list[Kernel], trials: int, transfers: int, anchors: float, budget: float
) -> None:
    transfers = min(transfers, int(trials * budget))
    effort = Effort(name="e", trials=trials, transfers=transfers, anchors=anchors, budget=budget)
    made = plan(kernels, effort)
    assert made.reserve >= 0
    assert made.total <= max(effort.trials, effort.trials * effort.budget * len(kernels))
    assert not transfers or all(given >= 1 for given in made.anchors.values())
    assert len(made.anchors) + len(made.neighbours) == len(kernels)


def measured(made: Plan, factors: dict[Kernel, float]) -> dict[Kernel, float]:
    return {k: seconds(k) * factors.get(k, 1.0) for k in (*made.anchors, *made.neighbours)}


def test_good_transfers_need_no_search() -> None:
    made = plan(SPACE, STANDARD)
    fair = dict.fromkeys(made.neighbours, 1.15)
    assert fallbacks(made, STANDARD, measured(made, fair), model(), 10_000) == {}


def test_the_worst_by_time_lost_is_searched_first_and_the_trials_suffice() -> None:
    made = plan(SPACE, STANDARD)
    by_time = sorted((k for k in made.neighbours if k.kind != "memory"), key=seconds)
    slow, slower, slowest = by_time[-3:]
    searched = SHORTER - STANDARD.transfers
    left = 2 * searched + 5
    found = fallbacks(made, STANDARD, measured(made, {slow: 2.0, slowest: 1.5, slower: 9.0}), model(), left)
    assert found == {slower: searched, slow: searched, slowest: 5}
    assert list(found) == [slower, slow, slowest]
    assert fallbacks(made, STANDARD, measured(made, {slow: 2.0}), model(), 0) == {}


def test_a_neighbour_that_nothing_works_on_comes_first() -> None:
    made = plan(SPACE, STANDARD)
    convolutions = sorted((k for k in made.neighbours if k.kind != "memory"), key=seconds)
    known = measured(made, {convolutions[-1]: 5.0, convolutions[0]: math.inf})
    assert list(fallbacks(made, STANDARD, known, model(), 10_000)) == [convolutions[0], convolutions[-1]]
    del known[convolutions[0]]
    assert list(fallbacks(made, STANDARD, known, model(), 10_000)) == [convolutions[0], convolutions[-1]]


def test_a_failed_donor_is_passed_over_for_the_next() -> None:
    made = plan(SPACE, STANDARD)
    kernel = next(k for k, lenders in made.neighbours.items() if len(lenders) > 1 and seconds(k) > 1e-4)
    known = measured(made, {made.neighbours[kernel][0]: math.inf, kernel: 3.0})
    assert kernel in fallbacks(made, STANDARD, known, model(), 10_000)
    known = measured(made, dict.fromkeys((*made.neighbours[kernel], kernel), 1.4))
    assert kernel not in fallbacks(made, STANDARD, known, model(), 10_000)
    known = measured(made, dict.fromkeys((*made.neighbours[kernel], kernel), 3.0))
    assert kernel in fallbacks(made, STANDARD, known, model(), 10_000)  # all of its sort are slow
