"""Two small networks that have a stem in common, as ONNX files: half of their kernels no space has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

H, W = 16, 32
node = helper.make_node
STEM = (
    node("Conv", ["image", "stem"], ["c"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2]),
    node("Relu", ["c"], ["r"], name="stem.relu"),
    node("MaxPool", ["r"], ["m"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
)
UP = (
    *STEM,
    node("ConvTranspose", ["m", "up"], ["u"], name="up", strides=[2, 2]),
    node("Relu", ["u"], ["ur"], name="up.relu"),
    node("Conv", ["ur", "head"], ["scores"], name="head"),
)
UNEVEN = (
    *STEM,
    node("Conv", ["m", "row"], ["v"], name="row", pads=[0, 1, 0, 1]),
    node("Mul", ["v", "gain"], ["g"], name="gained"),
    node("Softmax", ["g"], ["shares"], name="shares", axis=1),
    node("ReduceMax", ["g"], ["peak"], name="peak", axes=[2, 3], keepdims=0),
)
_SHAPES = {"stem": (8, 3, 3, 3), "up": (8, 8, 2, 2), "head": (4, 8, 1, 1), "row": (6, 8, 1, 3)}


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    outputs: Sequence[str],
    *,
    inputs: Sequence[str] = ("image",),
    shape: Sequence[int | str] = (1, 3, H, W),
    seed: int = 0,
    opset: int = 13,
) -> Path:
    """A file of nodes over random weights; ``gain`` is a number that goes in."""
    numbers = np.random.default_rng(seed)
    read = {key for one in nodes for key in one.input}
    weights = [
        numpy_helper.from_array((numbers.random(sides, np.float32) - 0.5) / 4, name)
        for name, sides in _SHAPES.items()
        if name in read
    ]
    shapes: dict[str, Any] = {"gain": (1,)}
    goes_in = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes.get(n, shape)) for n in inputs]
    comes_out = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "net", goes_in, comes_out, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save_model(onnx.shape_inference.infer_shapes(made), path)
    return path


def up(path: Path, **options: Any) -> Path:
    """Down by a pooling, up by a transposed convolution, scores of four classes."""
    return write(path, UP, ["scores"], **options)


def uneven(path: Path, **options: Any) -> Path:
    """A convolution of 1x3; two inputs, two outputs."""
    return write(path, UNEVEN, ["shares", "peak"], inputs=["image", "gain"], **options)
