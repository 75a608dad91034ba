from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest

from cost_models.estimate import Estimate, Source
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.hold_outs import Predict, hold_outs

from ..some_kernels import convolution, depthwise, frame, relu

KERNELS = [
    *(convolution(c, 2 * c, *size) for c in (8, 16, 24) for size in ((16, 32), (8, 16))),
    *(depthwise(c, *size, window) for c in (16, 48) for size in ((16, 32), (8, 16)) for window in (3, 5)),
    convolution(16, 16, 16, 32, 3, dilation=2, groups=16),
    relu(16, 15, 31),
]
SECONDS = [1e-6 * (1 + index) for index in range(len(KERNELS))]


def prediction(seconds: float, far: bool = False) -> Estimate:
    return Estimate(seconds, 0.9 * seconds, 1.1 * seconds, Source.PREDICTED, far)


class Watched:
    """Fits that remember what was kept and left out; every prediction is 4 % too high."""

    def __init__(self) -> None:
        self.kept: list[set[Kernel]] = []
        self.left: list[list[Kernel]] = []

    def fit(self, kernels: Sequence[Kernel], seconds: Sequence[float]) -> Predict:
        assert seconds == [SECONDS[KERNELS.index(kernel)] for kernel in kernels]
        self.kept.append(set(kernels))

        def predict(some: Sequence[Kernel]) -> list[Estimate]:
            self.left.append(list(some))
            return [prediction(1.04 * SECONDS[KERNELS.index(kernel)]) for kernel in some]

        return predict


def test_random_fifths_leave_every_kernel_out_once() -> None:
    watched = Watched()
    (found,) = hold_outs(KERNELS, SECONDS, watched.fit, splits=["random"], seed=3).values()
    assert found.groups == ("fifth 1", "fifth 2", "fifth 3", "fifth 4", "fifth 5")
    assert sorted(k.key for left in watched.left for k in left) == sorted(k.key for k in KERNELS)
    assert all(not kept & set(left) for kept, left in zip(watched.kept, watched.left, strict=True))
    other = Watched()
    hold_outs(KERNELS, SECONDS, other.fit, splits=["random"], seed=4)
    assert other.left != watched.left


def test_only_some_are_left_out_where_others_are_of_no_interest() -> None:
    watched = Watched()
    (found,) = hold_outs(KERNELS, SECONDS, watched.fit, splits=["random"], among=KERNELS[:7]).values()
    assert sorted(k.key for left in watched.left for k in left) == sorted(k.key for k in KERNELS[:7])
    assert found.overall.count == 7
    assert all(set(KERNELS[7:]) <= kept for kept in watched.kept)
    found = hold_outs(KERNELS, SECONDS, watched.fit, splits=["window"], among=KERNELS[:7])["window"]
    assert found.groups == ("3x3 dilated 1",)


@pytest.mark.parametrize(
    ("split", "groups"),
    [
        ("resolution", {"16x32": 9, "8x16": 7}),  # the odd 15 x 31 counts as 16 x 32
        ("channels", {"8": 2, "16": 8, "24": 2, "32": 2, "48": 6}),
        ("window", {"3x3 dilated 1": 4, "5x5 dilated 1": 4, "3x3 dilated 2": 1}),
    ],
)
def test_hard_splits_leave_out_all_of_a_sort(split: str, groups: dict[str, int]) -> None:
    watched = Watched()
    found = hold_outs(KERNELS, SECONDS, watched.fit, splits=[split])
    possible = {name: count for name, count in groups.items() if len(KERNELS) - count >= 10}
    if not possible:
        assert found == {}
        return
    assert sorted(map(len, watched.left)) == sorted(possible.values())
    assert (sorted(found[split].groups), found[split].possible) == (sorted(possible), len(possible))
    assert found[split].overall.count == sum(possible.values())
    assert all(not kept & set(left) for kept, left in zip(watched.kept, watched.left, strict=True))


def test_of_several_input_resolutions_a_whole_one_is_left_out() -> None:
    kernels = [
        *(frame(*size) for size in ((32, 64), (16, 32))),
        *(convolution(c, c, *size) for c in (8, 16, 24) for size in ((32, 64), (16, 32))),
        *(convolution(c, c, *size, stride=2) for c in (8, 16, 24, 32) for size in ((32, 64), (16, 32))),
    ]
    left: list[list[Kernel]] = []

    def fit(some: Sequence[Kernel], seconds: Sequence[float]) -> Predict:
        def predict(others: Sequence[Kernel]) -> list[Estimate]:
            left.append(list(others))
            return [prediction(1.0) for _ in others]

        return predict

    names: list[set[str]] = [{size} for _ in range(8) for size in ("32x64", "16x32")]
    found = hold_outs(kernels, [1.0] * len(kernels), fit, splits=["resolution"], resolutions=names)
    assert found == {}  # half of the kernels each: nothing to fit to
    kernels += [convolution(c, c, 7, 7) for c in range(2, 6)]
    names += [set(), set(), {"32x64", "16x32"}, {"32x64", "16x32"}]  # of neither, and of both
    found = hold_outs(kernels, [1.0] * len(kernels), fit, splits=["resolution"], resolutions=names)
    assert found["resolution"].groups == ("16x32", "32x64")
    assert left == [kernels[1:16:2], kernels[0:16:2]]


def test_some_groups_are_drawn_by_seed_and_the_watch_hears_of_every_fit() -> None:
    heard: list[tuple[int, int, str]] = []
    options: Any = {"splits": ["random", "channels"], "most": 2}
    found = hold_outs(
        KERNELS, SECONDS, Watched().fit, **options, seed=1, watch=lambda *said: heard.append(said)
    )
    channels = found["channels"]
    assert (len(channels.groups), channels.possible) == (2, 4)
    assert (len(found["random"].groups), found["random"].possible) == (2, 5)
    assert [done for done, _, _ in heard] == [0, 1, 2, 3, 4]
    assert {total for _, total, _ in heard} == {4}
    assert [said for *_, said in heard[2:]] == [*(f"left out: channels {c}" for c in channels.groups), ""]
    assert hold_outs(KERNELS, SECONDS, Watched().fit, **options, seed=1) == found
    others = [hold_outs(KERNELS, SECONDS, Watched().fit, **options, seed=seed) for seed in range(2, 8)]
    assert len({other["channels"].groups for other in others}) > 1


def test_errors_are_told_by_kind_and_are_plain_data() -> None:
    found = hold_outs(KERNELS, SECONDS, Watched().fit)
    assert set(found["random"].by_kind) == {"pointwise", "depthwise", "memory"}
    assert sum(errors.count for errors in found["random"].by_kind.values()) == len(KERNELS)
    plain = asdict(found["random"])
    assert plain["overall"]["mape"] == pytest.approx(0.04)
    assert plain["by_kind"]["memory"]["count"] == 1


def test_too_few_kernels_give_no_hold_outs() -> None:
    assert hold_outs(KERNELS[:8], SECONDS[:8], Watched().fit) == {}
