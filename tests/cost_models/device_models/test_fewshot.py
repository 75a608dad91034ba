import math
from collections.abc import Sequence

import numpy as np
import pytest

from cost_models.device_models.fewshot import (
    TERMS,
    DeviceModel,
    Refit,
    Vector,
    choose_networks,
    fit_device,
    work_of,
    work_of_networks,
)
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel

from ..some_kernels import convolution, depthwise, relu, residual

COSTS_S = np.array([50e-6, 8e-6, 20e-6, 1 / 400e9, 1 / 30e9, 1 / 50e9, 1 / 20e9, 1 / 60e9])


def networks(count: int, seed: int = 0) -> list[list[Kernel]]:
    random = np.random.default_rng(seed)
    parts = [residual(16, e, w, 32, 64) + residual(64, e, w, 8, 16) for e in (1, 3, 6) for w in (3, 5)]
    parts += [[convolution(64, 64, 8, 16, groups=2)], residual(200, 2, 3, 4, 8), [relu(16, 32, 64)]]
    return [[k for part in random.integers(len(parts), size=12) for k in parts[part]] for _ in range(count)]


WORK = work_of_networks(networks(300))


def noisy(seconds: Vector, spread: float, seed: int = 0) -> Vector:
    return np.asarray(seconds * np.exp(spread * np.random.default_rng(seed).normal(size=seconds.shape)))


def errors(model: DeviceModel, seconds: Vector, others: Vector | None = None) -> Vector:
    return np.asarray(np.abs(model.predict_s(WORK, others) / seconds - 1))


def test_work_adds_up_over_kernels() -> None:
    grouped, separate = convolution(32, 32, 8, 8, groups=2), depthwise(32, 8, 8)
    amounts = dict(zip(TERMS, work_of([grouped, separate]), strict=True))
    assert amounts["kernels"] == 2
    assert amounts["grouped kernels"] == 1
    assert (amounts["MACs"], amounts["depthwise MACs"]) == (grouped.macs, separate.macs)
    total = sum(amounts[name] for name in TERMS if name.startswith("bytes"))
    assert total == grouped.bytes_moved + separate.bytes_moved
    assert amounts["network"] == 0
    assert work_of_networks([[grouped], [separate]])[:, 0].tolist() == [1, 1]


def test_ten_networks_tell_all_others_on_a_device_as_the_model_thinks() -> None:
    seconds = WORK @ COSTS_S
    chosen = choose_networks(WORK, 10)
    model = fit_device(WORK[chosen], seconds[chosen])
    assert errors(model, seconds).max() < 0.01
    assert model.weights == {"work": 1.0}
    assert model.costs_s.min() >= 0


def test_what_a_kernel_adds_sums_up_to_its_network() -> None:
    chosen = choose_networks(WORK, 10)
    model = fit_device(WORK[chosen], (WORK @ COSTS_S)[chosen])
    kernels = networks(1, seed=5)[0]
    parts = model.predict_s(np.array([work_of([kernel]) for kernel in kernels]))
    whole = model.predict_s(work_of_networks([kernels]))[0]
    assert parts.sum() + model.costs_s[TERMS.index("network")] == pytest.approx(whole)


def test_chosen_networks_tell_more_than_others() -> None:
    seconds = WORK @ COSTS_S
    random = np.random.default_rng(0)

    def error(chosen: list[int], seed: int) -> float:
        return float(errors(fit_device(WORK[chosen], noisy(seconds, 0.05, seed)[chosen]), seconds).mean())

    optimal = [error(choose_networks(WORK, 8), seed) for seed in range(20)]
    drawn = [error(random.choice(300, 8, replace=False).tolist(), seed) for seed in range(20)]
    assert np.mean(optimal) < 0.9 * np.mean(drawn)


def test_networks_are_chosen_once_and_the_same_way_every_time() -> None:
    chosen = choose_networks(WORK, 30)
    assert len(set(chosen)) == 30
    assert chosen == choose_networks(WORK * 1000, 30)
    assert choose_networks(WORK, 300) != sorted(chosen)
    for alike in (np.ones((3, 2)), np.zeros((3, 2))):
        assert sorted(choose_networks(alike, 3)) == [0, 1, 2]


def other_devices() -> Vector:
    """(300, 3): one of the device's kind, twice as slow, and two that are not; none of them a sum of work."""
    habits = np.exp(0.2 * np.random.default_rng(1).normal(size=(300, 2)))
    base = WORK @ COSTS_S
    return np.stack([2 * base * habits[:, 0], 2 * base * habits[:, 1], WORK[:, 3] * 1e-9 + 1e-3], axis=1)


def test_a_device_of_a_known_kind_gets_its_habits() -> None:
    others = other_devices()
    seconds = noisy(others[:, 0] / 2, 0.02)
    chosen = choose_networks(others, 10)
    model = fit_device(WORK[chosen], seconds[chosen], others[chosen])
    alone = fit_device(WORK[chosen], seconds[chosen])
    assert errors(model, seconds, others).mean() < 0.03
    assert errors(alone, seconds).mean() > 0.1
    assert model.weights["device 0"] + model.weights["devices"] > 0.95


def test_a_device_unlike_all_others_gets_physics() -> None:
    seconds = noisy(WORK @ COSTS_S, 0.02)
    others = other_devices()
    chosen = choose_networks(others, 10)
    model = fit_device(WORK[chosen], seconds[chosen], others[chosen])
    assert model.weights["work"] > 0.95
    assert errors(model, seconds, others).mean() < 0.04


def test_a_model_of_another_form_takes_part_as_its_left_out_errors_earn() -> None:
    seconds = noisy(WORK @ COSTS_S, 0.02) * np.exp(0.3 * np.sin(np.arange(300)))  # no sum of work
    chosen = choose_networks(WORK, 10)
    right, measured = noisy(seconds, 0.01, seed=1), seconds[chosen]
    good, bad = Refit(right[chosen], right[chosen]), Refit(measured, measured * np.tile([0.5, 2], 5))
    model = fit_device(WORK[chosen], measured, refits=[bad, good])
    assert model.weights["refit 1"] > 0.99  # the other one fits, but does not tell what it has not seen
    assert model.shares == pytest.approx([0, 1], abs=0.01)
    others = np.stack([np.ones(300), right], axis=1)
    assert errors(model, seconds, others).mean() < 0.02


def test_one_timing_that_is_twice_too_long_does_little() -> None:
    others = other_devices()
    seconds = noisy(others[:, 0] / 2, 0.01)
    chosen = choose_networks(others, 10)
    disturbed = seconds.copy()
    disturbed[chosen[4]] *= 2
    model = fit_device(WORK[chosen], disturbed[chosen], others[chosen])
    assert errors(model, seconds, others).mean() < 0.04
    assert model.error_factor > 1.8


def test_nine_of_ten_networks_lie_in_the_interval() -> None:
    inside = []
    for seed in range(30):
        seconds = noisy(WORK @ COSTS_S, 0.05, seed)
        chosen = np.random.default_rng(seed).choice(300, 10, replace=False)
        model = fit_device(WORK[chosen], seconds[chosen])
        inside.append(np.mean(np.abs(np.log(model.predict_s(WORK) / seconds)) < math.log(model.error_factor)))
    assert 0.85 < np.mean(inside) <= 1


def test_intervals_hold_nine_of_ten_whatever_the_number_of_networks() -> None:
    def factor(errors: Sequence[float]) -> float:
        return DeviceModel(COSTS_S, np.zeros(0), {}, np.expm1(np.array(errors))).error_factor

    tenths = [index / 10 for index in range(1, 21)]
    assert math.log(factor(tenths[:9])) == pytest.approx(0.9)
    assert math.log(factor(tenths[:10])) == pytest.approx(1.0)
    assert math.log(factor(tenths)) == pytest.approx(1.9)  # one of twenty lies outside
    assert math.log(factor(tenths[:4])) == pytest.approx(0.4 * math.log(10) / math.log(5))
    assert factor([-value for value in tenths]) == pytest.approx(factor(tenths))


def test_wrong_input_is_refused() -> None:
    seconds = (WORK @ COSTS_S)[:10]
    with pytest.raises(CostModelError, match="3 measured networks are too few; measure at least 4"):
        fit_device(WORK[:3], seconds[:3])
    with pytest.raises(CostModelError, match=r"10 measured networks need as many rows .* \(9, 8\)"):
        fit_device(WORK[:9], seconds)
    with pytest.raises(CostModelError, match=r"latencies on other devices, found .* \(9, 1\)"):
        fit_device(WORK[:10], seconds, np.ones((9, 1)))
    for bad in (math.nan, math.inf, -1.0):
        with pytest.raises(CostModelError, match="seconds must be finite numbers >= 0"):
            fit_device(WORK[:10], [*seconds[:9], bad])
    with pytest.raises(CostModelError, match="must be above 0 s"):
        fit_device(WORK[:10], [*seconds[:9], 0.0])
    with pytest.raises(CostModelError, match="must be above 0 s"):
        fit_device(WORK[:10], seconds, np.zeros((10, 1)))
    with pytest.raises(CostModelError, match="400 networks to choose of 300; allowed: 1 to 300"):
        choose_networks(WORK, 400)
    with pytest.raises(CostModelError, match="columns must be finite"):
        choose_networks(np.full((3, 2), math.nan), 1)


def test_a_model_says_which_arrays_it_takes() -> None:
    others = other_devices()
    model = fit_device(WORK[:10], (WORK @ COSTS_S)[:10], others[:10])
    with pytest.raises(CostModelError, match=r"8 terms of work and of 3 latencies .* \(300, 0\)"):
        model.predict_s(WORK)
    with pytest.raises(CostModelError, match=r"found \(300, 7\) and \(300, 3\)"):
        model.predict_s(WORK[:, :7], others)
