"""Networks from ONNX files: ours come back as they were, others are cut as TVM fuses them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.lowering import pipeline as lowering
from cost_models.onnx_io.exporter import to_onnx
from cost_models.onnx_io.importer import Imported, from_onnx, read_onnx
from cost_models.tvm_import import tvm
from search.architecture import load_architecture
from search.costs.kernel_table import network_kernels
from search.resolution import Resolution

from ..onnx_models import CONV, MAP, WEIGHTS, imported, ints, model, node, random

SIZE = Resolution(64, 128)
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})


def keys(kernels: list[Kernel]) -> Counter[str]:
    return Counter(kernel.key for kernel in kernels)


def kernels_of(network: Imported) -> list[Kernel]:
    return split_into_kernels(network.graph, network.inputs)


@pytest.mark.parametrize("name", ["squeezenas-lat-small", "squeezenas-mac-xlarge", "mobilenetv3-small-seg"])
@pytest.mark.parametrize("size", [SIZE, Resolution(65, 97), Resolution(1024, 2048)])
def test_our_networks_come_back_with_the_kernels_that_tables_hold(name: str, size: Resolution) -> None:
    architecture = load_architecture(name)
    camera = to_onnx(architecture.camera_network(), {"frame": (1, *size, 3)})
    network = from_onnx(camera, name="camera.onnx")
    assert network.inputs == {"frame": (1, *size, 3)}
    assert network.size == size
    assert keys(kernels_of(network)) == keys(network_kernels(architecture, size))


def test_our_network_from_a_float_image() -> None:
    graph = load_architecture("squeezenas-lat-small").network()
    inputs = {"x": (1, 3, *SIZE)}
    network = from_onnx(to_onnx(graph, inputs), name="image.onnx")
    assert network.inputs == inputs
    assert network.size == SIZE
    assert keys(kernels_of(network)) == keys(split_into_kernels(graph, inputs))


def test_a_network_in_float16_has_the_same_kernels() -> None:
    graph = load_architecture("squeezenas-lat-small").camera_network()
    inputs = {"frame": (1, *SIZE, 3)}
    both = [from_onnx(to_onnx(graph, inputs, dtype=d), name=d) for d in ("float32", "float16")]
    assert keys(kernels_of(both[0])) == keys(kernels_of(both[1]))


def test_a_file_at_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save_model(model([CONV, node("Relu", ["c"], ["y"])], shape=["n", 8, "h", "w"]), path)
    (kernel,) = kernels_of(read_onnx(path, (64, 96)))
    assert kernel.label == "conv3x3+relu 8x64x96->8x64x96"
    with pytest.raises(InvalidGraph, match=f"^{path}: input x has no fixed size"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("/up1/conv/Relu", "up1.conv"),
        ("/blocks/blocks.0/blocks.0.1/Relu", "blocks.0.1"),
        ("/up1/Relu_3", "up1.Relu_3"),
        ("/Relu", "Relu"),
        ("act", "act"),
        ("", "y"),
        ("first", "y"),  # it is taken
    ],
)
def test_names_are_those_that_people_know(given: str, name: str) -> None:
    graph = imported([CONV, node("Relu", ["c"], ["y"], name=given)]).graph
    assert [n.name for n in graph.nodes] == ["first", name]


def test_no_name_is_used_twice() -> None:
    nodes = [CONV, node("Relu", ["c"], ["first.0"], name="first"), node("Tanh", ["first.0"], ["y"], name="x")]
    assert [n.name for n in imported(nodes).graph.nodes] == ["first", "first.0", "y"]


def test_what_nobody_reads_is_left_out() -> None:
    graph = imported([CONV, node("Relu", ["c"], ["unread"]), node("Tanh", ["c"], ["y"])]).graph
    assert [n.name for n in graph.nodes] == ["first", "y"]


def test_a_result_that_is_the_input_is_refused() -> None:
    with pytest.raises(InvalidGraph, match=r"^net.onnx: its result does not depend on its input"):
        imported([CONV, node("Identity", ["x"], ["y"])])


HALVES = node("Split", ["c"], ["p", "q"], axis=1, num_outputs=2)
POOLED = node("GlobalAveragePool", ["c"], ["p"])
FUSED: dict[str, tuple[list[NodeProto], dict[str, Any]]] = {
    "softmax": ([node("Softmax", ["c"], ["s"], axis=1), node("Relu", ["s"], ["y"])], {}),
    "layer norm": (
        [node("LayerNormalization", ["c", "k", "k"], ["n"]), node("Relu", ["n"], ["y"])],
        {"k": random(32)},
    ),
    "pool": ([node("MaxPool", ["c"], ["m"], kernel_shape=[2, 2]), node("Relu", ["m"], ["y"])], {}),
    "largest pixel": ([node("GlobalMaxPool", ["c"], ["m"]), node("Relu", ["m"], ["y"])], {}),
    "sum": ([node("ReduceSum", ["c", "k"], ["m"]), node("Relu", ["m"], ["y"])], {"k": ints(1)}),
    "mean of channels": (
        [node("ReduceMean", ["c", "k"], ["m"]), node("Mul", ["m", "c"], ["y"])],
        {"k": ints(1)},
    ),
    "shuffle": (
        [
            node("Reshape", ["c", "k"], ["r"]),
            node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["t", "l"], ["s"]),
            node("Relu", ["s"], ["y"]),
        ],
        {"k": ints(1, 2, 4, 16, 32), "l": ints(*MAP)},
    ),
    "halves": ([HALVES, node("Sigmoid", ["q"], ["g"]), node("Mul", ["p", "g"], ["y"])], {}),
    "half a convolution": (
        [HALVES, node("Conv", ["p", "k"], ["g"]), node("Concat", ["g", "q"], ["y"], axis=1)],
        {"k": random(4, 4, 1, 1)},
    ),
    "depth to space": ([node("DepthToSpace", ["c"], ["d"], blocksize=2), node("Relu", ["d"], ["y"])], {}),
    "padding": (
        [node("Pad", ["c", "p"], ["d"]), node("Conv", ["d", "w"], ["y"])],
        {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)},
    ),
    "transposed": (
        [node("ConvTranspose", ["c", "k"], ["d"], strides=[2, 2]), node("Clip", ["d", "a", "b"], ["y"])],
        {"k": random(8, 8, 2, 2), "a": np.float32(0), "b": np.float32(6)},
    ),
    "nearest": (
        [
            node("Resize", ["c", "", "k"], ["n"], mode="nearest"),
            node("Conv", ["n", "w"], ["d"], pads=[1] * 4),
            node("Add", ["n", "d"], ["y"]),
        ],
        {"k": np.array([1, 1, 2, 2], np.float32)},
    ),
    "added pixel": (
        [POOLED, node("Conv", ["p", "k"], ["g"]), node("Add", ["c", "g"], ["y"])],
        {"k": random(8, 8, 1, 1)},
    ),
    "gate": ([POOLED, node("Sigmoid", ["p"], ["g"]), node("Mul", ["c", "g"], ["y"])], {}),
    "constants": (
        [node("Sub", ["c", "k"], ["d"]), node("Mul", ["d", "k"], ["y"])],
        {"k": random(1, 8, 1, 1)},
    ),
    "mish": (
        [node("Softplus", ["c"], ["d"]), node("Tanh", ["d"], ["t"]), node("Mul", ["c", "t"], ["y"])],
        {},
    ),
    "silu": ([node("Sigmoid", ["c"], ["g"]), node("Mul", ["c", "g"], ["y"])], {}),
    "linear": (
        [node("ReduceMean", ["c", "a"], ["f"], keepdims=0), node("Gemm", ["f", "k", "b"], ["y"])],
        {"a": ints(2, 3), "k": random(8, 10), "b": random(10)},
    ),
    "uneven": ([node("Conv", ["c", "w"], ["d"], pads=[0, 0, 1, 1]), node("Relu", ["d"], ["y"])], {}),
    "slopes": (
        [
            node("Conv", ["x", "v"], ["d"]),
            node("LeakyRelu", ["d"], ["e"]),
            node("Add", ["e", "c"], ["f"]),
            node("PRelu", ["f", "k"], ["y"]),
        ],
        {"k": random(8, 1, 1), "v": random(8, 8, 1, 1)},
    ),
    "attention": (
        [
            node("ReduceMax", ["c", "k"], ["m"]),
            node("ReduceMean", ["c", "k"], ["n"]),
            node("Concat", ["m", "n"], ["z"], axis=1),
            node("Conv", ["z", "v"], ["s"], pads=[3] * 4),
            node("Sigmoid", ["s"], ["g"]),
            node("Mul", ["c", "g"], ["y"]),
        ],
        {"k": ints(1), "v": random(1, 2, 7, 7)},
    ),
}


@pytest.mark.parametrize("case", FUSED)
def test_foreign_operations_are_cut_as_tvm_fuses_them(case: str) -> None:
    nodes, constants = FUSED[case]
    made = model([CONV, *nodes], WEIGHTS | constants)
    fused = lowering.kernels(lowering.lower(made, TARGET))
    ours = kernels_of(from_onnx(made, name="net.onnx"))
    labels = [kernel.label for kernel in ours]
    assert len(ours) == sum(kernel.calls for kernel in fused.values()), (labels, list(fused))


def test_indices_of_the_largest_of_what_is_no_map_are_foreign() -> None:
    nodes = [CONV, node("Reshape", ["c", "r"], ["f"]), node("ArgMax", ["f"], ["y"], axis=1, keepdims=0)]
    (*_, last) = imported(nodes, WEIGHTS | {"r": ints(1, 8, 512)}).graph.nodes
    assert type(last.op).__name__ == "Foreign"
