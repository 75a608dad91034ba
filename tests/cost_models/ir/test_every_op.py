"""Every operation is described in all the places that ask; and adding one, as CONTRIBUTING.md tells it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from onnx import NodeProto
from torch import nn

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph, GraphBuilder, Node
from cost_models.ir.op import Op, Pattern, Shape, Sort
from cost_models.ir.ops import OPS, Activation, Add, Conv2d, Foreign
from cost_models.ir.weights import random_weights
from cost_models.kernel_models.features import Machine, features
from cost_models.onnx_io.exporter import WRITERS, Writer, to_onnx
from cost_models.onnx_io.importer import from_onnx
from cost_models.onnx_io.ops import EXACT, Exact
from cost_models.onnx_io.reader import Steps
from search.networks.graph_module import MODULES, GraphModule
from search.spaces.space import Part

from ..every_op import NEVER_RUN, NEVER_WRITTEN, SAMPLES, Sample, missing
from ..two_runtimes import difference, random_inputs, run_onnx, run_torch
from .test_fusion import differences

MACHINE = Machine(lanes=16, processors=2, macs_per_s=1e10, bytes_per_s=1e10)
MAP = (1, 8, 16, 32)


def concrete(kind: type[Op]) -> set[type[Op]]:
    return {kind}.union(*(concrete(below) for below in kind.__subclasses__()))


def test_every_class_is_registered() -> None:
    ours = {kind for kind in concrete(Op) if kind.__module__.startswith("cost_models.")}
    assert ours - {Op} == set(OPS.values())
    assert all(kind.__name__ == name for name, kind in OPS.items())


@pytest.mark.parametrize("kind", OPS.values(), ids=lambda kind: kind.__name__)
def test_nothing_is_missing(kind: type[Op]) -> None:
    assert missing(kind) == []


@pytest.mark.parametrize("kind", OPS.values(), ids=lambda kind: kind.__name__)
def test_descriptions_are_read_back(kind: type[Op]) -> None:
    kernel = SAMPLES[kind].kernel
    assert Kernel.from_description(kernel.description) == kernel


@pytest.mark.parametrize("kind", [kind for kind in OPS.values() if kind not in NEVER_WRITTEN])
def test_the_runtimes_agree(kind: type[Op]) -> None:
    sample = SAMPLES[kind]
    inputs = random_inputs(sample.graph, sample.shapes)
    (ours,) = run_onnx(to_onnx(sample.graph, sample.shapes, random_weights(sample.graph)), inputs)
    (theirs,) = run_torch(sample.graph, inputs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, sample.kernel.output_shape)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in OPS.values() if kind not in NEVER_WRITTEN and kind.output_dtype == "float32"],
)
def test_tvm_fuses_it_as_its_pattern_says(kind: type[Op]) -> None:
    """Between two operations that fuse with all they can."""
    sample = SAMPLES[kind]
    assert differences([Part("between", *surrounded(sample))]) == []


def surrounded(sample: Sample) -> tuple[Graph, dict[str, Shape]]:
    builder = GraphBuilder(sample.graph.inputs)
    inputs = list(sample.graph.inputs)
    if sample.op.input_dtype == "float32":
        inputs[0] = builder.add("before", Activation("relu"), inputs[0])
    value = builder.add("op", sample.op, *inputs)
    return builder.build(builder.add("after", Activation("sigmoid"), value)), sample.shapes


def test_what_is_somebody_elses_is_neither_written_nor_run() -> None:
    graph = SAMPLES[Foreign].graph
    with pytest.raises(InvalidGraph, match=r"^op: Softmax is of somebody else's network; .* neither written"):
        to_onnx(graph, {"x0": SAMPLES[Foreign].inputs[0]})
    with pytest.raises(InvalidGraph, match=r"^op: Foreign does not run in PyTorch"):
        GraphModule(graph)
    assert Foreign in NEVER_RUN


def test_an_unknown_operation_in_a_store_is_named() -> None:
    described = SAMPLES[Add].kernel.description | {"nodes": [{"name": "n0", "op": "Warp", "inputs": ["x0"]}]}
    with pytest.raises(InvalidGraph, match=r"^n0: no operation is called 'Warp'; known are Conv2d, .* newer"):
        Kernel.from_description(described)


# The recipe of CONTRIBUTING.md, step by step, for a rectifier with a slope for each channel ----------------


@dataclass(frozen=True)
class Slopes(Op):
    """The map where it is above 0, elsewhere the map times a weight of its channel."""

    pattern: ClassVar[Pattern] = "elementwise"
    sort: ClassVar[Sort] = "elementwise"

    channels: int

    def output_shape(self, inputs: Any, size: Any) -> Shape:
        if inputs[0][1] != self.channels:
            raise InvalidGraph(f"{self.channels} slopes for a map of {inputs[0][1]} channels")
        return tuple(inputs[0])

    def parameters(self) -> dict[str, Shape]:
        return {"weight": (self.channels,)}


def write(writer: Writer, node: Node) -> None:
    slopes = writer.arrays[f"{node.name}.weight"].reshape(-1, 1, 1)
    slope = writer.constant(f"{node.name}.weight", slopes, writer.dtype)
    writer.emit("PRelu", [*node.inputs, slope], node.name)


def read(found: Steps, node: NodeProto) -> Exact | None:
    slopes = found.constants.get(node.input[1])
    channels = found.shapes[node.input[0]][1]
    if slopes is None or slopes.shape != (channels, 1, 1):
        return None
    return Exact(Slopes(channels), (node.input[0],))


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "OPS of cost_models/ir/ops.py": lambda patch: patch.setitem(OPS, "Slopes", Slopes),
    "WRITERS of cost_models/onnx_io/exporter.py": lambda patch: patch.setitem(WRITERS, Slopes, write),
    "EXACT of cost_models/onnx_io/ops.py": lambda patch: patch.setitem(EXACT, "PRelu", read),
    "FUNCTIONS or MODULES of search/networks/graph_module.py": lambda patch: patch.setitem(
        MODULES, Slopes, lambda op: nn.PReLU(op.channels)
    ),
    "SAMPLES of tests/cost_models/every_op.py": lambda patch: patch.setitem(
        SAMPLES, Slopes, Sample(Slopes(8))
    ),
}


def follow(patch: pytest.MonkeyPatch, *, without: str = "") -> None:
    for name, step in STEPS.items():
        if name != without:
            step(patch)


def network() -> Graph:
    """A convolution, slopes, and slopes alone."""
    builder = GraphBuilder()
    x = builder.add("inner", Slopes(8), builder.conv_bn("first", Conv2d(8, 8, 3, padding=1), "x"))
    x = builder.add("act", Activation("relu"), builder.add("sum", Add(), x, "x"))
    return builder.build(builder.add("outer", Slopes(8), builder.conv_bn("last", Conv2d(8, 8), x)))


def test_an_operation_is_added_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    follow(monkeypatch)
    assert missing(Slopes) == []
    graph, inputs = network(), {"x": MAP}
    # counting
    assert graph.num_parameters == 8 * 8 * 9 + 8 * 8 + 2 * (8 + 8) + 2 * 8
    assert graph.macs(inputs) == 16 * 32 * (8 * 8 * 9 + 8 * 8)
    with pytest.raises(InvalidGraph, match=r"^inner: 8 slopes for a map of 4 channels$"):
        Graph(("x",), (Node("inner", Slopes(8), ("x",)),), ("inner",)).shapes({"x": (1, 4, 2, 2)})
    # fusion, as TVM does it; keys; features
    kernels = split_into_kernels(graph, inputs)
    assert [kernel.label.split()[0] for kernel in kernels] == ["conv3x3+slopes+add+relu", "conv1x1+slopes"]
    assert differences([Part("slopes", graph, inputs)]) == []
    with monkeypatch.context() as patch:
        patch.setattr(Slopes, "pattern", "injective")
        assert differences([Part("slopes", graph, inputs)]) != []
    assert [Kernel.from_description(kernel.description) for kernel in kernels] == kernels
    assert features(kernels[0], MACHINE)["elementwise"] == 3
    assert features(kernels[1], MACHINE)["bytes_weights"] == 4 * (8 * 8 + 8 + 8)
    # ONNX out and PyTorch give the same numbers; ONNX in gives the same kernels
    assert difference(graph, inputs) < 1e-4
    back = from_onnx(to_onnx(graph, inputs), name="slopes.onnx")
    assert split_into_kernels(back.graph, back.inputs) == kernels


@pytest.mark.parametrize("left_out", STEPS)
def test_a_step_left_out_is_told(left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(monkeypatch, without=left_out)
    assert missing(Slopes) == [left_out]


def test_a_step_left_out_is_an_error_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, inputs = network(), {"x": MAP}
    with pytest.raises(InvalidGraph, match=r"^n1: no operation is called 'Slopes'"):
        Kernel.from_description(split_into_kernels(graph, inputs)[0].description)
    with pytest.raises(InvalidGraph, match=r"^inner: Slopes cannot be written as ONNX; .* WRITERS of "):
        to_onnx(graph, inputs)
    with pytest.raises(InvalidGraph, match=r"^inner: Slopes does not run in PyTorch; .* FUNCTIONS of "):
        GraphModule(graph)
    monkeypatch.setitem(WRITERS, Slopes, write)
    unread = from_onnx(to_onnx(graph, inputs), name="slopes.onnx").graph
    assert [type(node.op) for node in unread.nodes if node.name == "inner"] == [Foreign]


@pytest.mark.parametrize("attribute", ["pattern", "sort"])
def test_no_operation_fuses_or_works_without_a_word(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Slopes, attribute)
    monkeypatch.setitem(SAMPLES, Slopes, Sample(Slopes(8)))
    told = f"operation Slopes does not say its {attribute}: give the class {attribute} = one of "
    with pytest.raises(InvalidGraph, match=f"^{re.escape(told)}"):
        features(split_into_kernels(network(), {"x": MAP})[0], MACHINE)
    assert f"a {attribute}" in missing(Slopes)
