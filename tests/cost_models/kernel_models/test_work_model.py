import numpy as np
import pytest

from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.features import Machine, features, matrix
from cost_models.kernel_models.work_model import Base

from ..some_kernels import argmax, convolution, depthwise, labels, space

MACHINE = Machine(lanes=16, processors=2, macs_per_s=100e9, bytes_per_s=20e9)
SPACE = space()
TABLE = matrix(SPACE, MACHINE)
SECONDS_A_MAC = {"pointwise": 1 / 90e9, "dense": 1 / 50e9, "depthwise": 1 / 10e9, "memory": 0.0}


def device_s(kernel: Kernel, cache: int = 1 << 30) -> float:
    """Latency on a device that is as the base thinks, with a cache of that many bytes."""
    moved = kernel.bytes_moved
    return 2e-6 + kernel.macs * SECONDS_A_MAC[kernel.kind] + moved / 40e9 + max(0, moved - cache) / 10e9


SECONDS = np.array([device_s(kernel) for kernel in SPACE])


def test_a_device_as_the_base_thinks_is_found_again() -> None:
    found = Base.fit(TABLE, SECONDS).predict_s(TABLE)
    assert np.max(np.abs(found / SECONDS - 1)) < 0.05


def test_what_falls_out_of_the_cache_costs_more() -> None:
    seconds = np.array([device_s(kernel, cache=1 << 20) for kernel in SPACE])
    base = Base.fit(TABLE, seconds)
    large = [convolution(96, 96, 64, 128), depthwise(96, 128, 256)]
    expected = [device_s(kernel, cache=1 << 20) for kernel in large]
    assert base.predict_s(matrix(large, MACHINE)) == pytest.approx(expected, rel=0.15)
    without = Base.fit(TABLE, SECONDS).predict_s(matrix(large, MACHINE))
    assert (without < 0.7 * np.array(expected)).all()


def test_a_badly_tuned_kernel_does_not_bend_the_others() -> None:
    seconds = SECONDS.copy()
    seconds[::10] *= 5
    found = Base.fit(TABLE, seconds).predict_s(TABLE)
    assert np.median(np.abs(found / SECONDS - 1)) < 0.03


def test_no_cost_is_negative() -> None:
    falling = np.array([1e-3 / (index + 1) for index in range(len(SPACE))])
    base = Base.fit(TABLE, falling)
    assert min(base.costs_s.values()) >= 0
    assert (base.predict_s(TABLE) > 0).all()


def test_maps_that_tiles_do_not_fit_cost_what_filled_ones_do() -> None:
    base = Base.fit(TABLE, SECONDS)
    for sizes in (((23, 30), (32, 32)), ((45, 60), (48, 64))):
        macs_s = [
            base.costs_s["macs.depthwise"] * features(depthwise(96, *size), MACHINE)["tiled_macs"]
            for size in sizes
        ]
        assert macs_s[0] == pytest.approx(macs_s[1])
    ragged, whole = base.predict_s(matrix([depthwise(96, 45, 60), depthwise(96, 32, 64)], MACHINE))
    assert ragged / (45 * 60) > 1.1 * whole / (32 * 64)


def test_values_compared_cost_what_they_did_and_where_none_were_known_what_products_do() -> None:
    known = [labels(classes, 32, 64, (256, 512)) for classes in (11, 19, 40)]
    seconds = np.concatenate([SECONDS, [2e-6 + kernel.compared / 2e9 for kernel in known]])
    asked = labels(27, 64, 128, (512, 1024))
    found = Base.fit(matrix([*SPACE, *known], MACHINE), seconds).predict_s(matrix([asked], MACHINE))
    assert found == pytest.approx(asked.compared / 2e9, rel=0.1)
    assert Base.fit(TABLE, SECONDS).predict_s(matrix([asked], MACHINE)) > asked.compared / 100e9


def test_work_that_was_never_measured_costs_what_is_usual_of_its_sort() -> None:
    known = [i for i, kernel in enumerate(SPACE) if kernel.kind == "pointwise"]
    base = Base.fit(TABLE[known], SECONDS[known])
    new = [depthwise(48, 32, 64), argmax(64, 128)]
    costs, expected = base.costs_s, []
    for kernel in new:
        found = features(kernel, MACHINE)
        assert found["tiled_macs"] == kernel.macs  # a map of whole tiles
        read, written = found["bytes_in"] + found["bytes_weights"], found["bytes_out"]
        work = kernel.work * costs["macs.pointwise"]
        work += read * costs["read.pointwise"] + written * costs["written.pointwise"]
        expected.append(costs["overhead"] + work)
    beyond = {name: cost for name, cost in costs.items() if name.startswith("beyond")}
    for index, kernel in enumerate(new):
        for name, cost in beyond.items():
            expected[index] += max(0, kernel.bytes_moved - int(name.partition(".")[2])) * cost
    assert base.predict_s(matrix(new, MACHINE)) == pytest.approx(expected, rel=1e-6)
