"""Graph -> ONNX, in float32 or float16, at fixed shapes, batch normalisation folded. No PyTorch, no TVM.

ONNX is the way into TVM and onnxruntime and travels in every bundle, so that anybody can check a deployed
module against another runtime.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, Node, fold_batch_norm
from cost_models.ir.ops import (
    Activation,
    Add,
    ArgMax,
    AroundPeak,
    AvgPool2d,
    Concat,
    Conv2d,
    Crop,
    Expand,
    Foreign,
    GlobalAvgPool,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Pad,
    PeakPoints,
    PlaceOfMax,
    Plane,
    Resize,
    RowMax,
    Shape,
    ShiftByOne,
    Standardize,
    TakeRow,
    ToByte,
)
from cost_models.ir.weights import Weights, fold_weights, random_weights
from cost_models.onnx_io import peaks
from cost_models.onnx_io.writer import Write as Write
from cost_models.onnx_io.writer import Writer as Writer

DTYPES = ("float32", "float16")
OPSET = 18
IR_VERSION = 9  # of opset 18; the newest of the onnx package would shut older runtimes out


def to_onnx(
    graph: Graph,
    inputs: Mapping[str, Shape],
    weights: Weights | None = None,
    *,
    name: str = "network",
    dtype: str = "float32",
) -> onnx.ModelProto:
    """ONNX model of a graph.

    Args:
        graph: with or without batch normalisation; it is folded here.
        inputs: shape of every input.
        weights: ``node.tensor`` -> array; random ones (seed 0) when None, which serve for timing.
        dtype: ``float32`` or ``float16``: of weights and of all values that a graph has as float32. Frames
            and class indices stay what they are; a frame is normalised in float32 whatever the type.

    Raises InvalidGraph when shapes or weights do not fit the graph, an operation cannot be written, or
    ``dtype`` is or holds no such numbers.
    """
    if dtype not in DTYPES:
        raise InvalidGraph(f"{name}: dtype is {dtype!r}, networks are written in {' or '.join(DTYPES)}")
    arrays = fold_weights(graph, random_weights(graph) if weights is None else weights)
    folded = fold_batch_norm(graph).pinned(inputs)
    shapes = folded.shapes(inputs)
    writer = Writer(shapes, arrays, np.dtype(dtype))
    for node in folded.nodes:
        _writer_of(node)(writer, node)
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            name,
            [writer.value_info(folded, value) for value in folded.inputs],
            [writer.value_info(folded, value) for value in folded.outputs],
            writer.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="squeezenas_tvm",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _writer_of(node: Node) -> "Write":
    if isinstance(node.op, Foreign):
        raise InvalidGraph(
            f"{node.name}: {node.op.operation} is of somebody else's network; what it costs can be told, "
            "but it can be neither written nor run"
        )
    if type(node.op) not in WRITERS:
        raise InvalidGraph(
            f"{node.name}: {type(node.op).__name__} cannot be written as ONNX; give it a function in "
            "WRITERS of cost_models/onnx_io/exporter.py (CONTRIBUTING.md, Add an operation)"
        )
    return WRITERS[type(node.op)]


def _conv(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Conv2d)
    names = [writer.weight(f"{node.name}.{key}") for key in op.parameters()]
    writer.emit(
        "Conv",
        [node.inputs[0], *names],
        node.name,
        kernel_shape=[op.kernel] * 2,
        strides=[op.stride] * 2,
        pads=[op.padding] * 4,
        dilations=[op.dilation] * 2,
        group=op.groups,
    )


_RELU6 = (("min", 0.0), ("max", 6.0))


def _activation(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Activation)
    kinds = {"relu": "Relu", "sigmoid": "Sigmoid", "hswish": "HardSwish", "hsigmoid": "HardSigmoid"}
    if node.op.kind == "relu6":
        ends = [writer.constant(f"{node.name}.{name}", end, writer.dtype) for name, end in _RELU6]
        writer.emit("Clip", [node.inputs[0], *ends], node.name)
        return
    kind = kinds[node.op.kind]
    extra = {"alpha": 1 / 6, "beta": 0.5} if kind == "HardSigmoid" else {}
    writer.emit(kind, node.inputs, node.name, **extra)


def _avg_pool(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, AvgPool2d)
    kernel, stride = node.op.window(*writer.shapes[node.inputs[0]][2:])
    writer.emit("AveragePool", node.inputs, node.name, kernel_shape=kernel, strides=stride)


def _max_pool(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, MaxPool2d)
    sides = {"kernel_shape": [op.kernel] * 2, "strides": [op.stride] * 2, "pads": [op.padding] * 4}
    writer.emit("MaxPool", node.inputs, node.name, **sides)


def _standardize(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Standardize)
    mean, var = (
        writer.arrays[f"{node.name}.{key}"].astype(np.float64).reshape(1, -1, 1, 1)
        for key in ("running_mean", "running_var")
    )
    centred = f"{node.name}.centred"
    writer.emit("Sub", [*node.inputs, writer.constant(f"{node.name}.mean", mean, writer.dtype)], centred)
    scale = writer.constant(f"{node.name}.scale", 1 / np.sqrt(var + node.op.epsilon), writer.dtype)
    writer.emit("Mul", [centred, scale], node.name)


def _resize(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Resize)
    shape = writer.shapes[node.name]
    mode = "align_corners" if node.op.align_corners else "half_pixel"
    # TVM divides by the pixels less one: a single one is the first of two
    single = node.op.align_corners and 1 in shape[2:]
    made = (*shape[:2], *(max(side, 2) for side in shape[2:])) if single else shape
    writer.emit(
        "Resize",
        [node.inputs[0], "", "", writer.constant(f"{node.name}.size", made, np.int64)],
        f"{node.name}.pair" if single else node.name,
        mode="linear",
        coordinate_transformation_mode=mode,
    )
    if single:
        _corner(writer, f"{node.name}.pair", node.name)


def _expand(writer: Writer, node: Node) -> None:
    shape = writer.constant(f"{node.name}.shape", writer.shapes[node.name], np.int64)
    writer.emit("Expand", [node.inputs[0], shape], node.name)


def _shift(writer: Writer, node: Node) -> None:
    height, width = writer.shapes[node.inputs[0]][2:]
    one = writer.constant(f"{node.name}.one", [1, 1], np.int64)
    end = writer.constant(f"{node.name}.end", [height, width], np.int64)
    axes = writer.constant(f"{node.name}.axes", [2, 3], np.int64)
    odd = height % 2 or width % 2
    sliced = f"{node.name}.sliced" if odd else node.name
    writer.emit("Slice", [node.inputs[0], one, end, axes], sliced)
    if odd:
        pads = writer.constant(f"{node.name}.pads", [0, 0, 0, 0, 0, 0, height % 2, width % 2], np.int64)
        writer.emit("Pad", [sliced, pads], node.name, mode="constant")


def _pad(writer: Writer, node: Node) -> None:
    before, after = (writer.shapes[name] for name in (node.inputs[0], node.name))
    more = [new - old for new, old in zip(after[2:], before[2:], strict=True)]
    pads = writer.constant(f"{node.name}.pads", [0] * 6 + more, np.int64)
    writer.emit("Pad", [node.inputs[0], pads], node.name, mode="constant")


def _crop(writer: Writer, node: Node) -> None:
    _corner(writer, node.inputs[0], node.name)


def _corner(writer: Writer, x: str, output: str) -> None:
    """The upper left of ``x``, as large as ``output`` is."""
    begin = writer.constant(f"{output}.begin", [0, 0], np.int64)
    end = writer.constant(f"{output}.end", writer.shapes[output][2:], np.int64)
    axes = writer.constant(f"{output}.axes", [2, 3], np.int64)
    writer.emit("Slice", [x, begin, end, axes], output)


def _normalize(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Normalize)
    planar = writer.emit("Transpose", node.inputs, f"{node.name}.planar", perm=[0, 3, 1, 2])
    real = writer.emit("Cast", [planar], f"{node.name}.real", to=TensorProto.FLOAT)
    mean = 255 * np.reshape(op.mean, (1, 3, 1, 1))
    scale = 1 / (255 * np.reshape(op.std, (1, 3, 1, 1)))
    centred = writer.emit(
        "Sub", [real, writer.constant(f"{node.name}.mean", mean, np.float32)], f"{node.name}.centred"
    )
    scaled = node.name if writer.dtype == np.float32 else f"{node.name}.scaled"
    writer.emit("Mul", [centred, writer.constant(f"{node.name}.scale", scale, np.float32)], scaled)
    if scaled != node.name:
        to = helper.np_dtype_to_tensor_dtype(writer.dtype)
        writer.emit("Cast", [scaled], node.name, to=to)


def _plane(writer: Writer, node: Node) -> None:
    as_float32 = writer.dtype == np.float32
    shape = writer.constant(f"{node.name}.shape", writer.shapes[node.name], np.int64)
    plane = node.name if as_float32 else f"{node.name}.narrow"
    writer.emit("Reshape", [node.inputs[0], shape], plane)
    if not as_float32:
        writer.emit("Cast", [plane], node.name, to=TensorProto.FLOAT)


def _plain(kind: str, **attributes: Any) -> Write:
    def write(writer: Writer, node: Node) -> None:
        writer.emit(kind, node.inputs, node.name, **attributes)

    return write


WRITERS: Mapping[type[Op], Write] = {
    Conv2d: _conv,
    Activation: _activation,
    Add: _plain("Add"),
    Mul: _plain("Mul"),
    Concat: _plain("Concat", axis=1),
    AvgPool2d: _avg_pool,
    MaxPool2d: _max_pool,
    Standardize: _standardize,
    GlobalAvgPool: _plain("GlobalAveragePool"),
    Resize: _resize,
    Expand: _expand,
    ShiftByOne: _shift,
    Pad: _pad,
    Crop: _crop,
    Normalize: _normalize,
    ArgMax: _plain("ArgMax", axis=1, keepdims=0),
    ToByte: _plain("Cast", to=TensorProto.UINT8),
    Plane: _plane,
    RowMax: peaks.write_row_max,
    PlaceOfMax: _plain("ArgMax", axis=2),
    TakeRow: peaks.write_take_row,
    AroundPeak: peaks.write_around_peak,
    PeakPoints: peaks.write_peak_points,
}
