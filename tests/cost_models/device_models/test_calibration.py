import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cost_models.device_models.calibration import calibrate
from cost_models.device_models.prior import Prior
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel

from ..some_kernels import convolution, depthwise, relu, residual

TRUTH = Prior(
    target="a board",
    macs_per_s={"dense": 500e9, "depthwise": 20e9, "grouped": 90e9},
    bytes_per_s=60e9,
    overhead_s=80e-6,
    channel_steps=(16, 1),
    origin="made up",
)
START = replace(
    TRUTH,
    macs_per_s={"dense": 300e9, "depthwise": 40e9, "grouped": 100e9},
    bytes_per_s=90e9,
    overhead_s=20e-6,
    channel_steps=(1, 1),
    origin="peaks",
)


def network(channels: int, expansion: int, depth: int, groups: int) -> list[Kernel]:
    kernels = [convolution(3, channels, 512, 1024, 3, stride=2), relu(channels, 512, 1024)]
    for stage in range(3):
        wide, height, width = channels * 2**stage, 256 >> stage, 512 >> stage
        kernels += residual(wide, expansion, 3 + 2 * (stage % 2), height, width) * depth
        kernels.append(convolution(wide, wide, height, width, groups=groups))
        kernels.append(depthwise(wide, height, width, stride=2))
    return kernels


NETWORKS: dict[str, Sequence[Kernel]] = {
    f"{channels}-{expansion}-{depth}": network(channels, expansion, depth, groups)
    for channels, expansion, depth, groups in (
        *((12, 6, 1, 2), (16, 3, 2, 4), (20, 6, 3, 1), (24, 1, 4, 2)),
        *((28, 3, 1, 7), (40, 6, 2, 2), (48, 1, 1, 3), (44, 3, 4, 4)),
    )
}
SECONDS = {name: sum(map(TRUTH.predict_s, kernels)) for name, kernels in NETWORKS.items()}


def test_a_device_as_the_model_thinks_is_found_again() -> None:
    prior = calibrate(START, NETWORKS, SECONDS, origin="a paper", conditions="at night")
    for name, kernels in NETWORKS.items():
        assert sum(map(prior.predict_s, kernels)) == pytest.approx(SECONDS[name], rel=0.02)
    assert [n.name for n in prior.networks] == list(NETWORKS)
    assert max(abs(n.error) for n in prior.networks) < 0.1
    assert (prior.origin, prior.conditions, prior.target) == ("a paper", "at night", "a board")


def test_a_left_out_network_is_not_seen() -> None:
    """A latency that is twice what it should be moves the others, not what is said of its own network."""
    name = "20-6-3"
    sound = calibrate(START, NETWORKS, SECONDS, origin="", conditions="")
    wrong = calibrate(START, NETWORKS, SECONDS | {name: 2 * SECONDS[name]}, origin="", conditions="")
    told = [next(n for n in prior.networks if n.name == name) for prior in (sound, wrong)]
    assert told[0].left_out_s == told[1].left_out_s
    assert told[1].error == pytest.approx(told[0].error - math.log(2))
    assert wrong.error_factor > 1.8


def test_what_the_networks_do_not_tell_stays_as_it_was() -> None:
    without = {
        name: [kernel for kernel in kernels if kernel.kind != "grouped"] for name, kernels in NETWORKS.items()
    }
    seconds = {name: sum(map(TRUTH.predict_s, kernels)) for name, kernels in without.items()}
    prior = calibrate(START, without, seconds, origin="", conditions="")
    assert prior.macs_per_s["grouped"] == pytest.approx(START.macs_per_s["grouped"], rel=1e-6)
    assert prior.macs_per_s["depthwise"] == pytest.approx(TRUTH.macs_per_s["depthwise"], rel=0.1)


def test_a_calibration_refuses_too_little_and_what_is_no_latency() -> None:
    few = {name: NETWORKS[name] for name in list(NETWORKS)[:3]}
    with pytest.raises(CostModelError, match=r"at least 4 networks of kernels .* found 3 networks and 8"):
        calibrate(START, few, SECONDS, origin="", conditions="")
    empty = NETWORKS | {"20-6-3": []}
    with pytest.raises(CostModelError, match="networks of kernels"):
        calibrate(START, empty, SECONDS, origin="", conditions="")
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(CostModelError, match="network 20-6-3: latencies must be finite and > 0 s"):
            calibrate(START, NETWORKS, SECONDS | {"20-6-3": bad}, origin="", conditions="")
