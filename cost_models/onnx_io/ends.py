"""What stands before and behind a network when it is deployed: a camera's frame, and what people ask for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cost_models.errors import InvalidGraph
from cost_models.ir.op import Shape
from cost_models.onnx_io.model_file import opset_of
from cost_models.onnx_io.reader import first_side
from cost_models.onnx_io.whole_model import Value, WholeModel, model_of, onnx_dtype

EndKind = Literal["argmax", "topk", "depth"]
MOST_CLASSES = 256  # which a byte tells apart
# Opsets from which on they are as written here
_OLDEST_RESIZE, _RESIZE_BY_SIZE, _OLDEST_TOPK, _OLDEST_SLICE = 11, 13, 11, 10
_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Frame:
    """A camera's frame in place of an input: uint8 RGB, (N, H, W, 3).

    Attributes:
        mean, std: of pixel values divided by 255, in the order of red, green and blue.
        bgr: the network takes blue first.
        layout: of what the network takes; None: as it seems to be.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False
    layout: Literal["NCHW", "NHWC"] | None = None


@dataclass(frozen=True, slots=True)
class End:
    """What is made of an output.

    Attributes:
        kind: ``argmax``: the class of each pixel of the image, a byte; ``topk``: the ``count`` classes of
            the highest scores and these; ``depth``: metres of each pixel of the image, float32.
    """

    kind: EndKind
    count: int = 1


def with_frame(whole: WholeModel, frame: Frame) -> WholeModel:
    """The network from a camera's frame on.

    Raises:
        InvalidGraph: it takes no image of three channels, or more than one input.
    """
    image = _only_image(whole, frame)
    batch, *sides = image.shape
    channels_last = _channels_last(whole, image, frame)
    height, width = sides[:2] if channels_last else sides[1:]
    name = _free(whole, "frame")
    given = Value(name, "uint8", (batch, height, width, 3))
    if image.dtype == "uint8":
        raise InvalidGraph(
            f"{whole.proto.graph.name}: input {image.name} takes bytes, so what is done with them is inside; "
            "leave out --frame, --mean, --std and --bgr"
        )
    made = _Nodes(f"{name}.")
    value = name if channels_last else made.add("Transpose", [name], perm=[0, 3, 1, 2])
    axis = 3 if channels_last else 1
    if frame.bgr:
        ends = (made.ints("first", [2]), made.ints("end", [-4]), made.ints("axis", [axis]))
        value = made.add("Slice", [value, *ends, made.ints("step", [-1])])
    value = made.add("Cast", [value], to=TensorProto.FLOAT)
    order = slice(None, None, -1) if frame.bgr else slice(None)
    shape = (1, 1, 1, 3) if channels_last else (1, 3, 1, 1)
    mean = 255 * np.reshape(frame.mean[order], shape)
    scale = 1 / (255 * np.reshape(frame.std[order], shape))
    value = made.add("Sub", [value, made.floats("mean", mean)])
    value = made.add("Mul", [value, made.floats("scale", scale)])
    made.add("Cast", [value], image.name, to=onnx_dtype(image.dtype))
    _require_opset(whole, _OLDEST_SLICE if frame.bgr else 1, "--bgr")
    inputs = tuple(given if own is image else own for own in whole.inputs)
    return _changed(whole, inputs, whole.outputs, before=made)


def with_end(whole: WholeModel, end: End, output: str | None = None) -> WholeModel:
    """The network with something made of one of its outputs, the others left out.

    Args:
        output: its name; None: the only one.

    Raises:
        InvalidGraph: there are several, or it is of another shape.
    """
    scores = _output(whole, output, end)
    made = _Nodes(f"{scores.name}.")
    outputs = _ENDS[end.kind](whole, scores, end, made)
    return _changed(whole, whole.inputs, outputs, behind=made)


class _Nodes:
    """Nodes in the making, with names that nothing else has."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self.nodes, self.tensors = prefix, list[NodeProto](), list[TensorProto]()

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Returns the name of the output."""
        output = output or f"{self._prefix}{kind.lower()}{len(self.nodes)}"
        name = f"{self._prefix}{kind.lower()}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name, **attributes))
        return output

    def floats(self, name: str, values: npt.ArrayLike) -> str:
        return self._tensor(name, np.asarray(values, np.float32))

    def ints(self, name: str, values: Sequence[int]) -> str:
        return self._tensor(name, np.asarray(values, np.int64))

    def _tensor(self, name: str, values: npt.NDArray[Any]) -> str:
        self.tensors.append(numpy_helper.from_array(values, f"{self._prefix}{name}"))
        return f"{self._prefix}{name}"


def _argmax(whole: WholeModel, scores: Value, end: End, made: _Nodes) -> tuple[Value, ...]:
    """Class indices (N, H, W) of the image, uint8."""
    size = _image_size(whole)
    if scores.dtype not in _FLOATS:
        return _given_classes(whole, scores, size, made)
    if len(scores.shape) != 4 or not 2 <= scores.shape[1] <= MOST_CLASSES:
        raise _unfit(whole, scores, f"scores of 2 to {MOST_CLASSES} classes, N x classes x height x width")
    value = _resized(whole, scores.name, scores.shape, size, made)
    value = made.add("ArgMax", [value], axis=1, keepdims=0)
    classes = Value(_free(whole, "classes"), "uint8", (scores.shape[0], *size))
    made.add("Cast", [value], classes.name, to=TensorProto.UINT8)
    return (classes,)


def _given_classes(
    whole: WholeModel, scores: Value, size: tuple[int, int], made: _Nodes
) -> tuple[Value, ...]:
    """Of a network that ends in an arg-max of its own."""
    allowed = ((scores.shape[0], *size), (scores.shape[0], 1, *size))
    if scores.shape not in allowed or not np.issubdtype(np.dtype(scores.dtype), np.integer):
        raise _unfit(whole, scores, f"classes as whole numbers, N x {size[0]} x {size[1]}, or their scores")
    value = scores.name
    if len(scores.shape) == 4:
        value = made.add("Reshape", [value, made.ints("shape", [scores.shape[0], *size])])
    classes = Value(_free(whole, "classes"), "uint8", (scores.shape[0], *size))
    made.add("Cast", [value], classes.name, to=TensorProto.UINT8)
    return (classes,)


def _topk(whole: WholeModel, scores: Value, end: End, made: _Nodes) -> tuple[Value, ...]:
    """Scores (N, count), the highest first, and their classes, int32."""
    count = scores.shape[1] if len(scores.shape) == 2 else 0
    if scores.dtype not in _FLOATS or not 1 <= end.count <= count:
        raise _unfit(whole, scores, f"scores of {end.count} classes or more, N x classes")
    _require_opset(whole, _OLDEST_TOPK, "--end topk")
    shape = (scores.shape[0], end.count)
    highest = Value(_free(whole, "scores"), scores.dtype, shape)
    classes = Value(_free(whole, "classes"), "int32", shape)
    indices = f"{scores.name}.indices"
    inputs = [scores.name, made.ints("count", [end.count])]
    made.nodes.append(helper.make_node("TopK", inputs, [highest.name, indices], axis=-1))
    made.add("Cast", [indices], classes.name, to=TensorProto.INT32)
    return (classes, highest)


def _depth(whole: WholeModel, scores: Value, end: End, made: _Nodes) -> tuple[Value, ...]:
    """Metres (N, H, W) of the image, float32."""
    batch, *sides = scores.shape
    if scores.dtype not in _FLOATS or len(sides) not in (2, 3) or (len(sides) == 3 and sides[0] != 1):
        raise _unfit(whole, scores, "distances, N x height x width, with or without a channel between")
    size, value = _image_size(whole), scores.name
    if len(sides) == 2:
        value = made.add("Reshape", [value, made.ints("planes", [batch, 1, *sides])])
    value = _resized(whole, value, (batch, 1, *sides[-2:]), size, made)
    value = made.add("Reshape", [value, made.ints("shape", [batch, *size])])
    metres = Value(_free(whole, "metres"), "float32", (batch, *size))
    made.add("Cast", [value], metres.name, to=TensorProto.FLOAT)
    return (metres,)


_ENDS = {"argmax": _argmax, "topk": _topk, "depth": _depth}


def _resized(whole: WholeModel, name: str, shape: Shape, size: tuple[int, int], made: _Nodes) -> str:
    """A map (N, C, h, w) at another size, bilinear, pixels taken as areas."""
    if tuple(shape[2:]) == size:
        return name
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    factors = [new / old for new, old in zip(size, shape[2:], strict=True)]
    if opset_of(whole.proto) < _RESIZE_BY_SIZE and all(factor.is_integer() for factor in factors):
        _require_opset(whole, _OLDEST_RESIZE, "a resize to the image's size")
        inputs = [name, made.floats("whole", np.zeros(0)), made.floats("factors", [1, 1, *factors])]
        return made.add("Resize", inputs, **how)
    _require_opset(whole, _RESIZE_BY_SIZE, "a resize to the image's size")
    return made.add("Resize", [name, "", "", made.ints("size", [*shape[:2], *size])], **how)


def _only_image(whole: WholeModel, frame: Frame) -> Value:
    name = whole.proto.graph.name
    images = [own for own in whole.inputs if len(own.shape) == 4 and 3 in (own.shape[1], own.shape[3])]
    if len(whole.inputs) > 1 or not images:
        said = ", ".join(_said(own) for own in whole.inputs)
        raise InvalidGraph(
            f"{name}: takes {said}; a camera's frame is for one image of three channels: leave out --frame, "
            "--mean, --std and --bgr"
        )
    return images[0]


def _channels_last(whole: WholeModel, image: Value, frame: Frame) -> bool:
    """Where a network wants colours. Raises InvalidGraph where it cannot be so."""
    if frame.layout is None:
        return first_side(image.shape, is_frame=image.name in whole.frames) == 1
    place = 3 if frame.layout == "NHWC" else 1
    if image.shape[place] != 3:
        raise InvalidGraph(
            f"{whole.proto.graph.name}: input {_said(image)} is no {frame.layout} of three channels; "
            "leave out --layout"
        )
    return place == 3


def _image_size(whole: WholeModel) -> tuple[int, int]:
    """Height and width of the first image. Raises InvalidGraph where there is none."""
    for own in whole.inputs:
        if len(own.shape) == 4:
            is_frame = own.name in whole.frames or own.dtype == "uint8"
            first = first_side(own.shape, is_frame=is_frame)
            return own.shape[first], own.shape[first + 1]
    raise InvalidGraph(f"{whole.proto.graph.name}: takes no image whose size its result could have")


def _output(whole: WholeModel, name: str | None, end: End) -> Value:
    by_name = {own.name: own for own in whole.outputs}
    if name is None and len(by_name) == 1:
        return whole.outputs[0]
    if name not in by_name:
        what = "has no such output" if name else f"has {len(by_name)} outputs"
        said = ", ".join([_said(own) for own in whole.outputs][:5]) + ", ..." * (len(by_name) > 5)
        raise InvalidGraph(
            f"{whole.proto.graph.name}: {what}; choose one for {end.kind} by --output NAME: {said}"
        )
    return by_name[name]


def _unfit(whole: WholeModel, scores: Value, wanted: str) -> InvalidGraph:
    return InvalidGraph(
        f"{whole.proto.graph.name}: output {_said(scores)} is not what this --end is for; wanted: {wanted}"
    )


def _said(value: Value) -> str:
    return f"{value.name} {'x'.join(map(str, value.shape))} {value.dtype}"


def _require_opset(whole: WholeModel, oldest: int, what: str) -> None:
    if (opset := opset_of(whole.proto)) < oldest:
        raise InvalidGraph(
            f"{whole.proto.graph.name}: is of opset {opset}, and {what} takes {oldest}; export it again with "
            "a newer one"
        )


def _free(whole: WholeModel, name: str) -> str:
    """A name that no value has."""
    graph = whole.proto.graph
    taken = {key for node in graph.node for key in (*node.input, *node.output)}
    while name in taken:
        name += "_"
    return name


def _changed(
    whole: WholeModel,
    inputs: tuple[Value, ...],
    outputs: tuple[Value, ...],
    *,
    before: _Nodes | None = None,
    behind: _Nodes | None = None,
) -> WholeModel:
    graph = whole.proto.graph
    nodes = [*(before.nodes if before else ()), *graph.node, *(behind.nodes if behind else ())]
    added: Iterable[TensorProto] = (t for part in (before, behind) if part for t in part.tensors)
    wanted, kept = {own.name for own in outputs}, list[NodeProto]()
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            kept.append(node)
    tensors = [tensor for tensor in (*graph.initializer, *added) if tensor.name in wanted]
    proto = model_of(graph.name, kept[::-1], inputs, outputs, tensors, opset_of(whole.proto))
    frames = whole.frames | {own.name for own in inputs if own.dtype == "uint8"}
    return replace(whole, proto=proto, inputs=inputs, outputs=outputs, frames=frames)
