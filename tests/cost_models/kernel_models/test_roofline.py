import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.roofline import PhysicalModel, lost_s, solve_non_negative

from ..some_kernels import convolution, depthwise, labels, relu, space

SPACE = space()
OVERHEAD_S, SECONDS_A_BYTE = 5e-6, 1 / 20e9
SECONDS_A_MAC = {"pointwise": 1 / 40e9, "dense": 1 / 50e9, "depthwise": 1 / 10e9, "memory": 0.0}


def device_s(kernel: Kernel) -> float:
    """Latency on a device that is as the model thinks."""
    return OVERHEAD_S + kernel.macs * SECONDS_A_MAC[kernel.kind] + kernel.bytes_moved * SECONDS_A_BYTE


MODEL = PhysicalModel.fit(SPACE, [device_s(kernel) for kernel in SPACE])


def test_a_device_as_the_model_thinks_is_found_again() -> None:
    for kernel in (*SPACE, convolution(200, 300, 20, 40), depthwise(500, 33, 77, 5)):
        assert MODEL.predict_s(kernel) == pytest.approx(device_s(kernel), rel=1e-6)
    assert MODEL.overhead_s == pytest.approx(OVERHEAD_S, rel=1e-6)


def test_noise_of_a_fifth_is_averaged_out() -> None:
    random = np.random.default_rng(0)
    seconds = [device_s(kernel) * random.uniform(0.8, 1.2) for kernel in SPACE]
    model = PhysicalModel.fit(SPACE, seconds)
    errors = [abs(model.predict_s(kernel) / device_s(kernel) - 1) for kernel in SPACE]
    assert np.median(errors) < 0.06
    assert max(errors) < 0.2


def test_no_cost_is_negative_even_where_that_would_fit_better() -> None:
    falling = [1e-3 / (index + 1) for index in range(len(SPACE))]
    model = PhysicalModel.fit(SPACE, falling)
    assert min(model.costs_s.values()) >= 0
    assert all(model.predict_s(kernel) > 0 for kernel in SPACE)


def test_one_kernel_is_enough_to_estimate_its_like() -> None:
    model = PhysicalModel.fit([SPACE[0]], [2e-3])
    assert model.predict_s(SPACE[0]) == pytest.approx(2e-3)


def test_a_kind_never_measured_is_as_slow_as_the_slowest() -> None:
    known = [kernel for kernel in SPACE if kernel.kind != "depthwise"]
    model = PhysicalModel.fit(known, [device_s(kernel) for kernel in known])
    kernel = depthwise(96, 64, 128)
    expected = OVERHEAD_S + kernel.macs * SECONDS_A_MAC["pointwise"] + kernel.bytes_moved * SECONDS_A_BYTE
    assert model.predict_s(kernel) == pytest.approx(expected, rel=1e-6)


def test_nothing_measured_is_faster_than_its_bound() -> None:
    for kernel in SPACE:
        assert MODEL.bound_s(kernel) <= device_s(kernel) * (1 + 1e-9)


def test_the_bound_is_the_higher_of_arithmetic_and_memory() -> None:
    heavy, wide = convolution(512, 512, 32, 32), relu(64, 128, 128)
    assert MODEL.bound_s(heavy) == heavy.macs / MODEL.rates["pointwise"]
    assert MODEL.bound_s(wide) == wide.bytes_moved / MODEL.bandwidth
    assert MODEL.bound_s(relu(1, 1, 1)) == MODEL.overhead_s


def test_values_compared_have_a_rate_of_their_own() -> None:
    others = [kernel for kernel in SPACE if not kernel.compared]
    known = [labels(classes, 32, 64, (256, 512)) for classes in (11, 19, 40)]
    model = PhysicalModel.fit([*others, *known], [*map(device_s, others), *(k.compared / 2e9 for k in known)])
    assert model.rates["compared"] == pytest.approx(2e9)
    asked = labels(27, 64, 128, (512, 1024))
    assert model.bound_s(asked) == pytest.approx(asked.compared / 2e9)
    assert model.predict_s(asked) == pytest.approx(asked.compared / 2e9, rel=0.1)


def test_time_is_lost_when_a_kernel_needs_a_quarter_more_than_its_donor_lets_expect() -> None:
    donor, kernel = convolution(16, 96, 64, 128), convolution(24, 144, 64, 128)
    for slower in (0.5, 1.0):  # the donor's own efficiency counts
        donor_s, kernel_s = slower * device_s(donor), slower * device_s(kernel)
        assert lost_s(kernel, 1.2 * kernel_s, donor, donor_s, MODEL) == 0
        assert lost_s(kernel, 1.3 * kernel_s, donor, donor_s, MODEL) == pytest.approx(
            0.3 * kernel_s, rel=1e-3
        )


def test_time_is_lost_when_kernel_and_donor_are_far_slower_than_their_sort() -> None:
    donor, kernel = convolution(16, 96, 64, 128), convolution(24, 144, 64, 128)
    kernel_s = device_s(kernel)
    assert lost_s(kernel, 1.4 * kernel_s, donor, 1.4 * device_s(donor), MODEL) == 0
    lost = lost_s(kernel, 1.8 * kernel_s, donor, 1.8 * device_s(donor), MODEL)
    assert lost == pytest.approx(0.8 * kernel_s, rel=1e-3)


def test_what_an_overhead_costs_is_not_lost_by_a_tiny_kernel() -> None:
    donor, tiny = convolution(16, 96, 64, 128), convolution(4, 4, 8, 8)
    assert lost_s(tiny, 1.9 * device_s(tiny), donor, device_s(donor), MODEL) == 0
    assert lost_s(tiny, 2.5 * device_s(tiny), donor, device_s(donor), MODEL) > 0


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_failures_are_no_latencies(seconds: float) -> None:
    with pytest.raises(CostModelError, match=r"must be finite and > 0 s, found .*leave failures out"):
        PhysicalModel.fit(SPACE[:2], [1e-3, seconds])


def test_kernels_and_latencies_must_pair_up() -> None:
    with pytest.raises(CostModelError, match="found 2 kernels and 1 latencies"):
        PhysicalModel.fit(SPACE[:2], [1e-3])
    with pytest.raises(CostModelError, match="found 0 kernels and 0 latencies"):
        PhysicalModel.fit([], [])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 6))
@settings(deadline=None)
def test_the_solver_is_as_good_as_trying_all_sets_of_columns(seed: int, rows: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    matrix, wanted = random.standard_normal((rows, columns)), random.standard_normal(rows)
    best = float(np.linalg.norm(wanted))
    for count in range(1, columns + 1):
        for chosen in map(list, itertools.combinations(range(columns), count)):
            x = np.linalg.lstsq(matrix[:, chosen], wanted, rcond=None)[0]
            if (x >= 0).all():
                best = min(best, float(np.linalg.norm(matrix[:, chosen] @ x - wanted)))
    found = solve_non_negative(matrix, wanted)
    assert (found >= 0).all()
    assert np.linalg.norm(matrix @ found - wanted) <= best + 1e-6
