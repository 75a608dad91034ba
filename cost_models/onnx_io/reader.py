"""An ONNX file as the steps that run, all sizes known: what only computes sizes or weights is computed here.

ONNX's own shape inference is asked node by node, with the constants found so far. So networks whose sizes are
computed in the graph (as exporters write resizes and reshapes) need no run-time. No PyTorch, no TVM.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import NodeProto, TypeProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator

from cost_models.errors import InvalidGraph
from cost_models.ir.ops import Shape
from cost_models.onnx_io.layout import frames
from targets.support.text import brief

OLDEST_OPSET = 7
_SIZES_UP_TO = 4096  # elements: larger constants are weights, which no size depends on
_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_FLOW = ("If", "Loop", "Scan", "LSTM", "GRU", "RNN", "SequenceMap")
_CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Steps:
    """The nodes of a network that run, in order.

    Attributes:
        inputs, outputs: names of the values that go in and come out.
        opset: version of the operations.
        shapes: of every value, by name.
        dtypes: of every value, numbers of ONNX's ``TensorProto.DataType``.
        constants: values that are known before the network runs.
        frames: inputs whose channels are last, by what is done with them.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    frames: frozenset[str] = frozenset()

    @cached_property
    def makers(self) -> Mapping[str, NodeProto]:
        """Value -> the node that makes it."""
        return {key: node for node in self.nodes for key in node.output if key}

    @cached_property
    def readers(self) -> Mapping[str, int]:
        """Value -> how many nodes and outputs read it."""
        return Counter(key for node in self.nodes for key in node.input) + Counter(self.outputs)

    def made_by(self, key: str, kind: str) -> NodeProto | None:
        """The node that made a value, if it is one of this kind."""
        maker = self.makers.get(key)
        return maker if maker is not None and maker.op_type == kind else None

    def setting(self, node: NodeProto, name: str, place: int) -> list[Any] | None:
        """A parameter: an attribute in older opsets, an input in newer ones; None where it is left out."""
        given = attributes(node)
        if name in given:
            return list(given[name]) if isinstance(given[name], Sequence) else [given[name]]
        if place < len(node.input) and node.input[place] in self.constants:
            return [*self.constants[node.input[place]].reshape(-1).tolist()]
        return None


def load(path: Path) -> onnx.ModelProto:
    """A checked model with its weights, functions inlined.

    Raises:
        InvalidGraph: no file, no sound ONNX file, weights in other files that are missing, an unsupported
            opset, or a network that is quantised, branches or loops while it runs, or has no convolution.
    """
    if not path.is_file():
        raise InvalidGraph(f"{path}: no such file")
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except (OSError, DecodeError) as error:
        raise InvalidGraph(f"{path}: not an ONNX file: {brief(error)}") from None
    if not model.opset_import or not model.graph.node:
        raise InvalidGraph(f"{path}: not an ONNX file, or a network without operations")
    _check_versions(model, path)
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InvalidGraph(
            f"{path}: its weights are in other files, and one is missing or damaged: {brief(error)}; "
            "put them beside it"
        ) from None
    try:
        onnx.checker.check_model(model)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise InvalidGraph(f"{path}: not valid ONNX: {brief(error)}") from None
    if model.functions:
        model = inline_local_functions(model)
    _check_operations(model, path)
    return model


def _check_versions(model: onnx.ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    opset = _opset(model)
    if not OLDEST_OPSET <= opset <= newest or model.ir_version > onnx.IR_VERSION:
        raise InvalidGraph(
            f"{path}: opset {opset} in format {model.ir_version}; allowed are opsets {OLDEST_OPSET} to "
            f"{newest} in formats up to {onnx.IR_VERSION}; export it again with an opset among them"
        )


def _opset(model: onnx.ModelProto) -> int:
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def _check_operations(model: onnx.ModelProto, path: Path) -> None:
    """Refuse what runs otherwise than once, node by node, in floating point."""
    for node in model.graph.node:
        kind = node.op_type
        if kind in _QUANTISED or kind.startswith(("QLinear", "QGemm")):
            raise InvalidGraph(
                f"{path}: quantised ({kind}); latencies are of floating point: export it before quantisation"
            )
        if kind in _FLOW or kind.startswith("Sequence"):
            raise InvalidGraph(
                f"{path}: {kind} {node.name or node.output[0]} decides while it runs how often what runs; "
                "export it unrolled, for fixed sizes"
            )
        if node.domain not in ("", "ai.onnx"):
            raise InvalidGraph(
                f"{path}: {kind} of {node.domain} is no operation of ONNX; export it without that domain"
            )
    if not any(node.op_type in _CONVOLUTIONS for node in model.graph.node):
        raise InvalidGraph(f"{path}: has no convolution; latencies are known for networks of convolutions")


def steps(model: onnx.ModelProto, size: tuple[int, int] | None, name: str) -> Steps:
    """The steps of a model for one size of its images.

    Args:
        model: as ``load`` gives it.
        size: height and width; may be None where the model has them. An open batch is 1.
        name: for messages.

    Raises:
        InvalidGraph: open sizes, other sizes than these, sizes that do not fit the network, or sizes that
            depend on what the network computes.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    found = Steps(
        tuple(value.name for value in inputs),
        tuple(v.name for v in model.graph.output),
        _opset(model),
        frames=frames(model.graph),
    )
    for value in inputs:
        found.shapes[value.name] = _input_shape(value, size, name, is_frame=value.name in found.frames)
        found.dtypes[value.name] = value.type.tensor_type.elem_type
    for key, tensor in weights.items():
        _add_constant(found, key, numpy_helper.to_array(tensor))
    for node in model.graph.node:
        _run_or_keep(found, node, name)
    return found


def _input_shape(
    value: onnx.ValueInfoProto, size: tuple[int, int] | None, name: str, *, is_frame: bool
) -> Shape:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise InvalidGraph(f"{name}: input {value.name} has no shape; export it with one")
    shape = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if shape and shape[0] is None:
        shape[0] = 1
    if len(shape) == 4:
        first = first_side(shape, is_frame=is_frame)
        if size is not None:
            _require_size(shape[first : first + 2], size, f"{name}: input {value.name}")
            shape[first : first + 2] = size
        if None in shape[first : first + 2]:
            raise InvalidGraph(f"{name}: input {value.name} has no fixed size; give one: --resolution HxW")
    known = tuple(side for side in shape if side is not None)
    if len(known) < len(shape):
        raise InvalidGraph(f"{name}: input {value.name} has an open shape; export it with fixed sizes")
    return known


def first_side(shape: Sequence[int | None], *, is_frame: bool) -> int:
    """Where height stands among an image's four sides, width after it: a frame has its channels last.

    Args:
        is_frame: so the network says; where it does not, it may still look like one.
    """
    channels = (1, 3, 4)
    return 1 if is_frame or (shape[3] in channels and shape[1] not in channels) else 2


def _require_size(sides: Sequence[int | None], size: tuple[int, int], what: str) -> None:
    if any(side not in (None, wanted) for side, wanted in zip(sides, size, strict=True)):
        fixed = "x".join("?" if side is None else str(side) for side in sides)
        raise InvalidGraph(
            f"{what} is for images of {fixed}, not of {size[0]}x{size[1]}; leave the resolution out, "
            "or export it with open sizes"
        )


def _add_constant(found: Steps, name: str, values: Array) -> None:
    found.constants[name] = values
    found.shapes[name] = values.shape
    found.dtypes[name] = helper.np_dtype_to_tensor_dtype(values.dtype)


def _run_or_keep(found: Steps, node: NodeProto, name: str) -> None:
    """Compute a node that needs no image; of any other tell the shapes that it makes."""
    read = [key for key in node.input if key]
    what = f"{name}: {node.op_type} {node.name or node.output[0]}"
    try:
        if node.op_type == "Shape" and read[0] not in found.constants:
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            shape = found.shapes[read[0]][slice(bounds.get("start"), bounds.get("end"))]
            _add_constant(found, node.output[0], np.array(shape, np.int64))
        elif all(key in found.constants for key in read):
            for key, value in _computed(found, node, read).items():
                _add_constant(found, key, value)
        else:
            _infer(found, node, read)
    except InvalidGraph:
        raise
    except Exception as error:  # of many types, from ONNX's C++ and its reference operations
        raise InvalidGraph(f"{what} does not fit its inputs: {brief(error)}; try another size") from error
    for key in filter(None, node.output):
        if key not in found.shapes:
            raise InvalidGraph(
                f"{what}: the shape of {key} depends on what the network computes; export it for fixed sizes"
            )
        if math.prod(found.shapes[key]) == 0 and key not in found.constants:
            raise InvalidGraph(f"{what} leaves nothing of its input; give a larger size")


def _computed(found: Steps, node: NodeProto, read: Sequence[str]) -> dict[str, Array]:
    """Results of a node by ONNX's reference, which heeds the opset of models alone."""
    made = [key for key in node.output if key]
    inputs, outputs = (
        [helper.make_empty_tensor_value_info(key) for key in keys] for keys in (dict.fromkeys(read), made)
    )
    graph = helper.make_graph([node], "step", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", found.opset)])
    values = ReferenceEvaluator(model).run(None, {key: found.constants[key] for key in read})
    return {key: np.asarray(value) for key, value in zip(made, values, strict=True)}


def _infer(found: Steps, node: NodeProto, read: Sequence[str]) -> None:
    schema = onnx.defs.get_schema(node.op_type, found.opset)
    types = {key: helper.make_tensor_type_proto(found.dtypes[key], found.shapes[key]) for key in read}
    data = {
        key: numpy_helper.from_array(found.constants[key], key)
        for key in read
        if key in found.constants and found.constants[key].size <= _SIZES_UP_TO
    }
    opsets = [helper.make_opsetid("", found.opset)]
    made = onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=opsets)
    for key, kind in made.items():
        dims = _dims(kind)
        if key and dims is not None:
            found.shapes[key] = dims
            found.dtypes[key] = kind.tensor_type.elem_type
    found.nodes.append(node)


def _dims(kind: TypeProto) -> Shape | None:
    """Sides of a tensor; None where one is not known. What is no size at all does not fit."""
    tensor = kind.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(max(int(dim.dim_value), 0) for dim in tensor.shape.dim)


def attributes(node: NodeProto) -> Mapping[str, Any]:
    """Attributes of a node by name; texts as ``str``."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
