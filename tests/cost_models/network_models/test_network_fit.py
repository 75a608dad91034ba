"""Calibrations on made-up networks whose hidden costs are known: what is found, and what is left alone."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.ops import Concat, Conv2d
from cost_models.network_models.network_fit import TimedNetwork, fit_networks
from cost_models.network_models.network_model import NetworkModel

from ..some_kernels import convolution, residual

HERE = {"device": "board"}
COUNT = 24
Hidden = Callable[[KernelGraph, list[float]], float]


def alone_s(kernel: Kernel) -> float:
    """Made up."""
    return 3e-6 + kernel.macs / 20e9 + kernel.bytes_moved / 10e9


def chains(seed: int = 0, count: int = COUNT) -> list[KernelGraph]:
    """Networks of residual blocks, some long and some short."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        kernels = [convolution(3, 16, 64, 128, 3, stride=2)]
        for channels, size in ((16, 32), (24, 16), (40, 8)):
            for _ in range(draw.randint(0, 4)):
                kernels += residual(channels, draw.choice((1, 3, 6)), draw.choice((3, 5)), size, 2 * size)
        found.append(KernelGraph.chain(kernels))
    return found


def wide(widths: list[int], after: int) -> Graph:
    """Convolutions of one map side by side, stacked, and others one after another."""
    net = GraphBuilder()
    made = [
        net.conv_bn(f"b{i}", Conv2d(8, width, kernel=3, padding=1), "x") for i, width in enumerate(widths)
    ]
    value, channels = net.add("all", Concat(), *made), sum(widths)
    for index in range(after):
        value = net.conv_bn(f"c{index}", Conv2d(channels, channels), value)
    return net.build(value)


def timed(graphs: list[KernelGraph], hidden: Hidden, noise: float = 0.0) -> list[TimedNetwork]:
    draw = random.Random(1)
    found = []
    for graph in graphs:
        alone = [alone_s(kernel) for kernel in graph.kernels]
        found.append(TimedNetwork(graph, alone, hidden(graph, alone) * math.exp(draw.gauss(0, noise))))
    return found


def as_of(model: NetworkModel) -> Hidden:
    def hidden(graph: KernelGraph, alone: list[float]) -> float:
        inside = [model.kernel_s(kernel, s) for kernel, s in zip(graph.kernels, alone, strict=True)]
        return model.sum_s(graph, inside, alone) + model.overhead_s

    return hidden


def fit(networks: list[TimedNetwork]) -> NetworkModel:
    return fit_networks(networks, HERE, "made up")


def test_launches_and_overhead_are_found() -> None:
    truth = NetworkModel(gap_s=2e-5, overhead_s=1e-4)
    model = fit(timed(chains(), as_of(truth), noise=0.01))
    assert model.gap_s == pytest.approx(2e-5, rel=0.3)
    assert model.overlap == 0
    assert model.errors is not None
    assert model.plain_errors is not None
    assert model.errors.median < 0.015 < 0.1 < model.plain_errors.median
    assert model.errors.spearman > 0.98
    assert (model.errors.count, model.origin, model.fingerprint) == (COUNT, "made up", HERE)


def test_others_are_told_as_well_as_those_left_out() -> None:
    truth = NetworkModel(gap_s=1e-5, cold_s_per_byte=2e-10, scale=dict.fromkeys(["pointwise", "dense"], 1.2))
    model = fit(timed(chains(), as_of(truth), noise=0.02))
    others = timed(chains(seed=9), as_of(truth), noise=0.02)
    told = np.array([as_of(model)(network.graph, list(network.alone_s)) for network in others])
    off = np.abs(np.log(told / np.array([network.seconds for network in others])))
    assert np.median(off) < 0.03
    assert np.mean(off <= model.width) >= 0.75


def test_a_plain_sum_is_left_as_it_is() -> None:
    model = fit(timed(chains(), lambda _, alone: sum(alone), noise=0.03))
    assert set(model.scale.values()) == {1.0}
    assert (model.gap_s, model.cold_s_per_byte, model.overhead_s, model.overlap) == (0, 0, 0, 0)
    assert model.calibrated
    assert 0.03 < model.width < 0.12


def test_overlap_is_found_where_branches_run_side_by_side_and_only_there() -> None:
    draw = random.Random(3)
    graphs = []
    for _ in range(COUNT):
        widths = [draw.randint(4, 40) for _ in range(draw.randint(1, 5))]
        graphs.append(KernelGraph.of(wide(widths, draw.randint(0, 3)), {"x": (1, 8, 32, 32)}))
    assert fit(timed(graphs, as_of(NetworkModel(overlap=0.75)), noise=0.01)).overlap == 0.75
    assert fit(timed(graphs, as_of(NetworkModel(gap_s=1e-5)), noise=0.01)).overlap == 0


def test_errors_are_of_networks_that_the_fit_had_not_seen() -> None:
    """One odd network: told badly, whatever a fit to it would say."""
    networks = timed(chains(), as_of(NetworkModel(gap_s=1e-5)), noise=0.01)
    networks[5] = replace(networks[5], seconds=3 * networks[5].seconds)
    model = fit(networks)
    assert model.left_out[5] < math.log(1 / 2)
    assert len(model.left_out) == COUNT
    assert model.errors is not None
    assert model.errors.within_10 < 1


def test_networks_of_another_sort_help_and_are_not_judged() -> None:
    truth = as_of(NetworkModel(gap_s=2e-5, overhead_s=1e-4))
    few, many = timed(chains(seed=5, count=6), truth, noise=0.01), timed(chains(), truth, noise=0.01)
    odd = [replace(network, seconds=2 * network.seconds) for network in many[:3]]
    model = fit_networks(few, HERE, "few", [*many[3:], *odd])
    assert model.errors is not None
    assert (model.errors.count, len(model.left_out)) == (6, 6)
    assert model.range_s == (min(n.seconds for n in few), max(n.seconds for n in few))
    alone, helped = fit_networks(few, HERE, "few"), fit_networks(few, HERE, "few", many)
    assert helped.errors is not None
    assert alone.errors is not None
    assert helped.errors.mape <= alone.errors.mape
    assert helped.width < 0.05


def test_the_same_networks_give_the_same_numbers() -> None:
    networks = timed(chains(), as_of(NetworkModel(gap_s=1e-5)), noise=0.05)
    assert fit(networks) == fit(networks)


def test_too_few_networks_are_refused() -> None:
    networks = timed(chains(count=4), as_of(NetworkModel()))
    with pytest.raises(
        CostModelError,
        match="needs at least 5 networks timed whole, found 4; time more: profile with --networks",
    ):
        fit(networks)


def test_garbage_gives_a_wide_interval() -> None:
    draw = random.Random(4)
    model = fit(timed(chains(), lambda _, alone: sum(alone) * math.exp(draw.gauss(0, 0.5))))
    assert model.width > 0.4
