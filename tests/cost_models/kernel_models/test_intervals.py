import math

import numpy as np
import pytest

from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.features import Machine, matrix
from cost_models.kernel_models.intervals import FAR, Intervals, coordinates, distances, families

from ..some_kernels import argmax, convolution, depthwise, relu, residual

MACHINE = Machine(lanes=16, processors=2, macs_per_s=100e9, bytes_per_s=20e9)


def apart(kernel: Kernel, *known: Kernel) -> float:
    places = [coordinates(matrix(some, MACHINE)) for some in ([kernel], known)]
    return float(distances(*places)[0])


@pytest.mark.parametrize(
    ("kernel", "doublings"),
    [
        (convolution(16, 32, 8, 8), 0.0),
        (convolution(32, 32, 8, 8), 1.0),
        (convolution(32, 64, 16, 16), 4.0),
        (depthwise(64, 32, 64), 1.0),  # its channels count once
        (depthwise(32, 64, 128), 2.0),
    ],
    ids=lambda value: value.label if isinstance(value, Kernel) else str(value),
)
def test_distance_is_counted_in_doublings_from_the_nearest(kernel: Kernel, doublings: float) -> None:
    assert apart(kernel, convolution(16, 32, 8, 8), depthwise(32, 32, 64)) == pytest.approx(doublings)


@pytest.mark.parametrize(
    "kernel",
    [
        depthwise(32, 32, 64, 5),
        depthwise(32, 64, 128, 3, stride=2),
        convolution(32, 32, 32, 64, 3, dilation=2, groups=32),
        convolution(32, 32, 32, 64, 3, groups=2),
        relu(32, 32, 64),
        argmax(32, 64),
    ],
    ids=lambda kernel: kernel.label,
)
def test_another_program_is_far_away(kernel: Kernel) -> None:
    assert apart(kernel, depthwise(32, 32, 64)) > FAR


def test_what_is_fused_to_the_end_matters_little() -> None:
    project = residual(16, 3, 3, 8, 8)[-1]
    assert 0 < apart(project, convolution(48, 16, 8, 8)) <= 1


def test_families_by_size_and_by_program() -> None:
    kernels = [depthwise(32, 8, 16), depthwise(32, 8, 16, 5), depthwise(48, 8, 16), convolution(9, 32, 8, 16)]
    by_size, by_program = families(matrix(kernels, MACHINE))
    assert by_size[0] == by_size[1] != by_size[2]
    assert by_program[0] == by_program[2] != by_program[1]
    assert len(set(by_program.tolist())) == 3


def test_nine_of_ten_errors_are_inside_at_every_distance() -> None:
    random = np.random.default_rng(0)
    places = random.uniform(0, 6, 4000)
    logs = random.normal(0, 0.02 + 0.05 * np.floor(places))
    intervals = Intervals.calibrate(places[:2000], np.abs(logs[:2000]))
    found = intervals.estimates(np.exp(logs[2000:]), places[2000:])
    inside = np.array([p.low_s <= 1 <= p.high_s for p in found])
    for low, high in ((0, 1), (1, 2), (2, 3), (3, 6)):
        group = inside[(low <= places[2000:]) & (places[2000:] < high)]
        assert 0.85 < group.mean() < 0.97, (low, high)


def test_intervals_never_narrow_with_distance_and_grow_beyond_what_is_known() -> None:
    random = np.random.default_rng(1)
    places = random.uniform(0, 5, 300)
    intervals = Intervals.calibrate(places, np.abs(random.normal(0, 0.3 - 0.05 * places)))
    found = intervals.estimates(np.ones(60), np.arange(60) / 4)
    widths = [p.high_s / p.low_s for p in found]
    assert widths == sorted(widths)
    assert math.log(widths[59]) == pytest.approx(math.log(widths[40]) * 59 / 40)
    assert math.log(widths[40]) > 1.9 * math.log(widths[19])
    assert [p.far for p in found] == [index / 4 > FAR for index in range(60)]


def test_a_handful_of_errors_is_one_group() -> None:
    intervals = Intervals.calibrate(np.linspace(0, 2, 9), np.linspace(0.1, 0.9, 9))
    assert set(intervals.widths) == {0.9}  # of nine the largest: no other holds nine of ten
