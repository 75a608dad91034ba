"""Memory of values: by hand on small graphs, and against the plan in modules that TVM compiled."""

import re
import statistics
from typing import Any

import numpy as np
import pytest

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.memory import peak_bytes, planned_bytes, steps
from cost_models.ir.ops import Activation, Add, Conv2d, Resize, Shape
from cost_models.lowering.pipeline import compile_lowered, lower
from cost_models.onnx_io.exporter import to_onnx
from search.architecture import load_architecture
from search.spaces.camera import camera_network, segmentation_head
from search.spaces.registry import get_space
from targets import load_target

TARGET = load_target("local-cpu").tvm_target()
MAP = 8 * 8 * 4  # bytes of a channel of 8 x 8


def graph_of(*layers: tuple[str, Any, tuple[str, ...]], outputs: tuple[str, ...] = ()) -> Graph:
    net = GraphBuilder()
    for name, op, inputs in layers:
        net.add(name, op, *inputs)
    return net.build(*(outputs or (layers[-1][0],)))


def test_in_a_chain_two_values_live_and_the_input() -> None:
    chain = graph_of(
        ("a", Conv2d(2, 5), ("x",)),
        ("b", Conv2d(5, 7), ("a",)),
        ("c", Conv2d(7, 3), ("b",)),
    )
    found = list(steps(chain, {"x": (1, 2, 8, 8)}))
    assert [step.alive for step in found] == [(2 + 5) * MAP, (2 + 5 + 7) * MAP, (2 + 7 + 3) * MAP]
    assert [[value.name for value in step.freed] for step in found] == [[], ["a"], ["b"]]
    assert peak_bytes(chain, {"x": (1, 2, 8, 8)}) == 14 * MAP


def test_what_is_fused_takes_nothing_and_a_residual_waits() -> None:
    block = graph_of(
        ("first", Conv2d(2, 4), ("x",)),
        ("wide", Conv2d(4, 24), ("first",)),
        ("relu", Activation("relu"), ("wide",)),
        ("narrow", Conv2d(24, 4), ("relu",)),
        ("sum", Add(), ("narrow", "first")),
    )
    alive = [step.alive for step in steps(block, {"x": (1, 2, 8, 8)})]
    assert alive == [(2 + 4) * MAP, (2 + 4 + 24) * MAP, (2 + 4 + 24 + 4) * MAP]


def test_results_are_kept_and_what_gives_a_size_alone_is_not_there() -> None:
    net = GraphBuilder(("x", "image"))
    net.add("a", Conv2d(2, 2, stride=2), "x")
    net.add("b", Conv2d(2, 3), "a")
    net.add("c", Resize(align_corners=False), "b", size_of="image")
    inputs: dict[str, Shape] = {"x": (1, 2, 16, 16), "image": (1, 3, 32, 32)}
    alive = [step.alive for step in steps(net.build("a", "c"), inputs)]
    x, a, b, c = 2 * 4 * MAP, 2 * MAP, 3 * MAP, 3 * 16 * MAP
    assert alive == [x + a, x + a + b, x + a + b + c]


def test_the_identity_takes_nothing() -> None:
    skip, inputs = get_space("small").block(5, "skip"), {"x": (1, 24, 8, 16)}
    assert list(steps(skip, inputs)) == []
    assert peak_bytes(skip, inputs) == planned_bytes(skip, inputs) == 0


def test_a_storage_serves_again_and_grows_and_one_too_large_does_not() -> None:
    chain = graph_of(
        ("a", Conv2d(1, 6), ("x",)),
        ("b", Conv2d(6, 40), ("a",)),
        ("c", Conv2d(40, 8), ("b",)),  # into a's storage, which grows to 8
        ("d", Conv2d(8, 2), ("c",)),  # not into b's of 40: a third
        ("e", Conv2d(2, 1), ("d",)),
    )
    inputs: dict[str, Shape] = {"x": (1, 1, 8, 8)}
    assert planned_bytes(chain, inputs) == (1 + 8 + 40 + 2 + 1) * MAP
    assert peak_bytes(chain, inputs) == (1 + 6 + 40 + 8 - 6) * MAP


_CONSTANT = re.compile(r'"ErrorContext.*?\) "|"\w*"|shapetuple\[[^\]]*\]|\[[^\]]*\]|\w+')


def compiled_plan(graph: Graph, inputs: dict[str, Shape]) -> int:
    """Bytes of all storages that the compiled module asks for, which are its values' and its result's."""
    executable = compile_lowered(lower(to_onnx(graph, inputs), TARGET), TARGET, {}).executable
    pool = next(line for line in executable.stats().splitlines() if "Constant pool" in line)
    count, listed = re.search(r"\(# (\d+)\): \[(.*)\]$", pool).groups()  # type: ignore[union-attr]
    constants = _CONSTANT.findall(listed)
    assert len(constants) == int(count)
    sizes = re.findall(r"vm.builtin.alloc_storage +in: %vm, c\[(\d+)\]", executable.as_text())
    assert sizes
    return sum(int(constants[int(index)].removeprefix("shapetuple[").rstrip("]")) for index in sizes)


def test_a_compiled_block_takes_what_is_planned() -> None:
    block, x = get_space("small").block(5, "k3e6"), (1, 24, 8, 16)
    given = 24 * 8 * 16 * 4
    assert compiled_plan(block, {"x": x}) == planned_bytes(block, {"x": x}) - given
    # The result takes a storage of its own, where that of the expansion would be free in a longer network.
    assert planned_bytes(block, {"x": x}) == peak_bytes(block, {"x": x}) + given


@pytest.mark.parametrize(
    "name",
    [
        "squeezenas-lat-small",
        pytest.param("mobilenetv3-small-seg", marks=pytest.mark.slow),
        pytest.param("squeezenas-lat-xlarge", marks=pytest.mark.slow),
    ],
)
def test_a_compiled_network_takes_what_is_planned(name: str) -> None:
    network, inputs = load_architecture(name).camera_network(), {"frame": (1, 64, 128, 3)}
    planned = planned_bytes(network, inputs)
    assert compiled_plan(network, inputs) == planned - 64 * 128 * 3
    assert peak_bytes(network, inputs) < planned < 2 * peak_bytes(network, inputs)


@pytest.mark.parametrize("name", ["small", "large", "xlarge"])
def test_the_plan_is_never_less_than_the_peak_and_seldom_twice_that(name: str) -> None:
    space, draw, head = get_space(name), np.random.default_rng(0), segmentation_head(19)
    inputs, ratios = {"frame": (1, 256, 512, 3)}, []
    for _ in range(20):
        network = camera_network(space.network(space.sample(draw), head), head)
        ratios.append(planned_bytes(network, inputs) / peak_bytes(network, inputs))
    assert 1 <= min(ratios) < max(ratios) < 2.2
    assert statistics.median(ratios) < 2
