import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cost_models.device_models.prior import FILE, Prior, Reported, rounded_macs
from cost_models.errors import CostModelError, IncompatiblePrior
from cost_models.estimate import OUTSIDE
from targets import load_target

from ..some_kernels import convolution, depthwise, labels, relu, residual, transposed

PRIOR = Prior(
    target="a board",
    macs_per_s={"dense": 100e9, "depthwise": 10e9, "grouped": 20e9},
    bytes_per_s=10e9,
    overhead_s=10e-6,
    channel_steps=(1, 1),
    origin="made up",
)


def test_a_kernel_takes_the_longer_of_arithmetic_and_traffic_and_a_launch() -> None:
    heavy, wide = convolution(256, 256, 32, 32, 3), relu(64, 128, 128)
    assert PRIOR.predict_s(heavy) == pytest.approx(heavy.macs / 100e9 + 10e-6)
    assert PRIOR.predict_s(wide) == pytest.approx(wide.bytes_moved / 10e9 + 10e-6)
    assert PRIOR.predict_s(relu(1, 1, 1)) == pytest.approx(10e-6, rel=1e-3)


def test_every_class_has_its_rate() -> None:
    slow = replace(PRIOR, bytes_per_s=1e15)
    for kernel, rate in (
        (depthwise(96, 64, 64), 10e9),
        (convolution(64, 64, 64, 64, groups=2), 20e9),
        (convolution(64, 64, 64, 64), 100e9),
    ):
        assert slow.predict_s(kernel) == pytest.approx(kernel.macs / rate + 10e-6)


def test_channels_are_rounded_up_to_the_hardwares_steps() -> None:
    kernel = convolution(48, 40, 8, 8)
    assert rounded_macs(kernel, (1, 1)) == kernel.macs
    assert rounded_macs(kernel, (32, 1)) == pytest.approx(kernel.macs * 64 / 48)
    assert rounded_macs(kernel, (32, 32)) == pytest.approx(kernel.macs * 64 / 48 * 64 / 40)
    grouped = convolution(48, 48, 8, 8, groups=2)  # 24 channels a group
    assert rounded_macs(grouped, (16, 1)) == pytest.approx(grouped.macs * 32 / 24)
    per_channel = depthwise(40, 8, 8)
    assert rounded_macs(per_channel, (1, 16)) == pytest.approx(per_channel.macs * 48 / 40)
    assert rounded_macs(relu(16, 8, 8), (32, 32)) == 0


def test_another_type_is_as_fast_as_peaks_and_sizes_say() -> None:
    xavier = load_target("jetson-xavier")  # float16 in pairs; no peak for float64
    half, double = (PRIOR.in_type(dtype, xavier) for dtype in ("float16", "float64"))
    heavy, wide = convolution(256, 256, 32, 32, 3), relu(64, 128, 128)
    for kernel in (heavy, wide):
        whole_s = PRIOR.predict_s(kernel) - PRIOR.overhead_s
        assert half.predict_s(kernel) - PRIOR.overhead_s == pytest.approx(whole_s / 2)
        assert double.predict_s(kernel) - PRIOR.overhead_s == pytest.approx(whole_s * 2)
    assert half.origin == "made up; float16 by the target's peaks"
    assert double.origin == "made up; float64 by the size of an element"


def test_peaks_give_a_prior_in_which_faster_hardware_is_faster() -> None:
    slow, fast = (Prior.from_peaks(load_target(name)) for name in ("jetson-xavier", "jetson-xavier-maxn"))
    half = Prior.from_peaks(load_target("jetson-xavier"), "float16")
    small = Prior.from_peaks(load_target("raspberry-pi-4"))
    for kernel in (convolution(96, 576, 64, 128), depthwise(96, 64, 128)):
        assert fast.predict_s(kernel) < slow.predict_s(kernel) < small.predict_s(kernel)
        assert half.predict_s(kernel) <= slow.predict_s(kernel)
    assert "NVIDIA" in slow.origin
    assert "float32" in slow.origin


@pytest.mark.parametrize(("name", "dtype"), [("local-cpu", "float32"), ("raspberry-pi-4", "float16")])
def test_without_peaks_there_is_no_prior(name: str, dtype: str) -> None:
    with pytest.raises(CostModelError) as refusal:
        Prior.from_peaks(load_target(name), dtype)
    assert f"target {name}: its file has no peaks for {dtype}" in str(refusal.value)
    assert f"measure: squeezenas-tvm profile --target {name}" in str(refusal.value)


NETWORK = [kernel for _ in range(3) for kernel in residual(32, 6, 3, 64, 64)]


def calibrated() -> Prior:
    """A prior whose networks are like NETWORK, with left-out errors of up to 10 %."""
    seconds, shares = sum(map(PRIOR.predict_s, NETWORK)), PRIOR.shares(NETWORK)
    told = [("a", 1.05), ("b", 1 / 1.1), ("c", 0.98)]
    networks = tuple(Reported(name, seconds, seconds * factor, shares) for name, factor in told)
    return replace(PRIOR, networks=networks, conditions="as they were")


def test_the_interval_is_that_of_left_out_networks_only_for_their_like() -> None:
    prior = calibrated()
    seconds = sum(map(prior.predict_s, NETWORK))
    near = prior.network(NETWORK, as_published=True)
    assert near.median_s == pytest.approx(seconds)
    assert (near.low_s, near.high_s) == pytest.approx((seconds / 1.1, seconds * 1.1))
    assert not near.far
    dense = [convolution(128, 128, 64, 64, 3)] * 9
    for network, as_published in ((NETWORK, False), (NETWORK[:3], True), (NETWORK * 3, True), (dense, True)):
        told = prior.network(network, as_published=as_published)
        assert told.far
        assert told.high_s / told.median_s == pytest.approx(OUTSIDE)
        assert told.median_s / told.low_s == pytest.approx(OUTSIDE)


def test_peaks_alone_never_have_a_narrow_interval() -> None:
    told = PRIOR.network(NETWORK, as_published=True)
    assert told.far
    assert told.high_s == pytest.approx(OUTSIDE * told.median_s)


def test_shares_are_of_predicted_time() -> None:
    shares = PRIOR.shares(NETWORK)
    assert sum(shares.values()) == pytest.approx(1)
    thrice = PRIOR.predict_s(NETWORK[1]) * 3
    assert NETWORK[1].kind == "depthwise"
    assert shares["depthwise"] == pytest.approx(thrice / sum(map(PRIOR.predict_s, NETWORK)))


def test_a_file_gives_the_same_prior_and_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "board" / FILE
    calibrated().save(path, made_by="a command")
    assert Prior.load(path) == calibrated()
    document = json.loads(path.read_text())
    assert (document["source"], document["made_by"]) == ("prior", "a command")


@pytest.mark.parametrize(
    "change",
    [
        {"bytes_per_s": 0.0},
        {"overhead_s": math.nan},
        {"macs_per_s": {"dense": 1e9}},
        {"channel_steps": [32]},
        {"networks": [{"name": "a"}]},
        {"unknown": 1},
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / FILE
    calibrated().save(path, made_by="a command")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": {}} | change))
    with pytest.raises(IncompatiblePrior, match=r"prior\.json: .*; install squeezenas-tvm again"):
        Prior.load(path)


def test_other_files_and_schemas_are_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with pytest.raises(IncompatiblePrior, match="a prior cannot be read"):
        Prior.load(path)
    path.write_text("[]")
    with pytest.raises(IncompatiblePrior, match="a prior is a JSON object"):
        Prior.load(path)
    calibrated().save(path, made_by="a command")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(IncompatiblePrior, match="schema 2, this program reads 1"):
        Prior.load(path)


def test_values_compared_have_the_rate_of_depthwise_products() -> None:
    kernel = labels(19, 64, 128, (512, 1024))
    arithmetic_s = kernel.compared / PRIOR.macs_per_s["depthwise"]
    assert PRIOR.predict_s(kernel) == pytest.approx(arithmetic_s + PRIOR.overhead_s)


def test_somebody_elses_work_has_the_rate_of_its_class() -> None:
    slow = replace(PRIOR, bytes_per_s=1e15)
    assert slow.predict_s(transposed(10**9)) == pytest.approx(1e9 / 100e9 + 10e-6)
    assert PRIOR.predict_s(transposed(1)) == pytest.approx(transposed(1).bytes_moved / 10e9 + 10e-6)
