"""An ONNX file as a model without weights: latencies need shapes, not values.

What is larger than a size can be is left behind unread, wherever it lies: in the file, in another, or
nowhere. So files of any weight load at once, and those whose weights are missing load, too. What could make
much work out of little (functions that call each other, texts) is bounded or refused before anything is done.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor
from onnx.inliner import inline_local_functions

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.old_broadcast import without_axes
from targets.support.text import brief

OLDEST_OPSET = 7
SIZES_UP_TO = 4096  # elements: larger constants are weights, which no size depends on
MOST_NODES = 20_000  # of a network, functions and loops written out
_MOST_BYTES = 2**31 - 1  # of a file: protobuf reads no more
_TEXTS = ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer")
_BITS: Mapping[int, int] = {
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32), 32),
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64), 64),
    **dict.fromkeys((TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT16, TensorProto.UINT16), 16),
    **dict.fromkeys((TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL), 8),
}  # of an element as files have it
_VALUES = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")


@dataclass(frozen=True)
class Model:
    """A model whose weights are inputs.

    Attributes:
        proto: checked where it comes from a file; its functions are written out.
        weights: names of inputs that are weights.
        notes: what is unusual about the file, a phrase each.
    """

    proto: ModelProto
    weights: frozenset[str]
    notes: tuple[str, ...] = ()

    @property
    def opset(self) -> int:
        """Version of its operations; 0 where it says none."""
        return opset_of(self.proto)


def load(path: Path) -> Model:
    """A checked model without its weights, functions inlined, of opset 7 or newer.

    Raises:
        InvalidGraph: no file, no sound ONNX file, damaged weights, an opset that nothing converts, or work on
            texts.
    """
    proto = parsed(path)
    if not proto.opset_import or not proto.graph.node:
        raise InvalidGraph(f"{path}: not an ONNX file, or a network without operations")
    _check_versions(proto, path)
    _check_nodes(proto, path)
    model = without_weights(proto, str(path), path.parent)
    try:
        onnx.checker.check_model(with_shapes(model.proto))
    except (ValueError, onnx.checker.ValidationError) as error:
        raise InvalidGraph(f"{path}: not valid ONNX: {brief(error)}") from None
    return _inlined(_converted(model, path), path)


def parsed(path: Path) -> ModelProto:
    """The file as it is; of weights in other files only where they lie. Raises InvalidGraph."""
    try:
        if not path.is_file():
            raise InvalidGraph(f"{path}: no such file")
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidGraph(f"{path}: larger than 2 GiB; export it with its weights in another file")
        return onnx.load_model(path, format="protobuf", load_external_data=False)
    except (OSError, ValueError, DecodeError) as error:
        raise InvalidGraph(f"{path}: not an ONNX file: {brief(error)}") from None


def opset_of(proto: ModelProto) -> int:
    """Version of the operations of ONNX in a model; 0 where it says none."""
    return next((int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def _check_versions(proto: ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    opset = opset_of(proto)
    if not 1 <= opset <= newest or proto.ir_version > onnx.IR_VERSION:
        raise InvalidGraph(
            f"{path}: opset {opset} in format {proto.ir_version}; allowed are opsets 1 to "
            f"{newest} in formats up to {onnx.IR_VERSION}; export it again with an opset among them"
        )


def _check_nodes(proto: ModelProto, path: Path) -> None:
    """Refuse more operations than a network has, and those on texts, whose time nothing bounds."""
    inside = {(f.domain, f.name): [*_all_nodes(f.node)] for f in proto.functions}
    counts: dict[tuple[str, str], int] = {}
    for _ in inside:  # functions call others, not themselves: each round finishes one or more
        for name, nodes in inside.items():
            called = [(n.domain, n.op_type) for n in nodes]
            if name not in counts and not any(call in inside and call not in counts for call in called):
                counts[name] = sum(counts.get(call, 1) for call in called)
        if len(counts) == len(inside):
            break
    if len(counts) < len(inside):
        raise InvalidGraph(f"{path}: not valid ONNX: a function calls itself")
    nodes = [*_all_nodes(proto.graph.node)]
    if (total := sum(counts.get((n.domain, n.op_type), 1) for n in nodes)) > MOST_NODES:
        raise InvalidGraph(f"{path}: {total:,} operations; allowed are {MOST_NODES:,}")
    for node in (*nodes, *(n for some in inside.values() for n in some)):
        if node.op_type in _TEXTS:
            raise InvalidGraph(
                f"{path}: {node.op_type} works on texts; latencies are of networks of convolutions: "
                "export it without them"
            )


def _all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those of their branches and bodies."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _all_nodes(graph.node)


def without_weights(proto: ModelProto, name: str, folder: Path | None = None) -> Model:
    """A copy in which what is too large for a size, or is not there, is an input.

    Args:
        name: for messages.
        folder: where files with weights lie; without one, such weights are not there.

    Raises:
        InvalidGraph: weights that are damaged.
    """
    try:
        return _without_weights(proto, folder)
    except Exception as error:  # of many types, from files, and from ONNX's readers of tensors
        raise InvalidGraph(f"{name}: its weights are damaged: {brief(error)}; export it again") from error


def _without_weights(proto: ModelProto, folder: Path | None) -> Model:
    made, kept, dropped = ModelProto(), [], {}
    missing: list[str] = []
    for tensor in (*proto.graph.initializer, *_large_constants(proto.graph)):
        if math.prod(tensor.dims) <= SIZES_UP_TO and (small := _with_values(tensor, folder)) is not None:
            kept.append(small)
            continue
        dropped[tensor.name] = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        if not _is_there(tensor, folder):
            missing.append(tensor.name)
    for sparse in proto.graph.sparse_initializer:
        name, kind = sparse.values.name, sparse.values.data_type
        dropped[name] = helper.make_tensor_value_info(name, kind, sparse.dims)
    made.CopyFrom(_frame(proto))
    nodes = [n for n in proto.graph.node if n.op_type != "Constant" or n.output[0] not in dropped]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(kept)
    listed = {value.name for value in made.graph.input}
    made.graph.input.extend(value for name, value in dropped.items() if name not in listed)
    return Model(made, frozenset(dropped), _missing_note(missing))


def _frame(proto: ModelProto) -> ModelProto:
    """All but what can be large: nodes and values."""
    frame = ModelProto(
        ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions
    )
    frame.graph.name = proto.graph.name or "network"
    frame.graph.input.extend(proto.graph.input)
    frame.graph.output.extend(proto.graph.output)
    return frame


def _missing_note(missing: list[str]) -> tuple[str, ...]:
    if not missing:
        return ()
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return (f"weights are not there ({missing[0]}{more}): told by their shapes",)


def _large_constants(graph: GraphProto) -> Iterator[TensorProto]:
    """Values of nodes that are weights, as exporters of old write them."""
    for node in graph.node:
        if node.op_type != "Constant" or not node.output:
            continue
        for attribute in node.attribute:
            tensor = attribute.t
            outside = tensor.data_location == TensorProto.EXTERNAL
            if attribute.name == "value" and (math.prod(tensor.dims) > SIZES_UP_TO or outside):
                named = TensorProto()
                named.CopyFrom(tensor)
                named.name = node.output[0]
                yield named


def _with_values(tensor: TensorProto, folder: Path | None) -> TensorProto | None:
    """A small tensor with its values in it; None where they are not there."""
    if not _is_there(tensor, folder):
        return None
    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    made = TensorProto()
    made.CopyFrom(tensor)
    load_external_data_for_tensor(made, str(folder))
    made.data_location = TensorProto.DEFAULT
    del made.external_data[:]
    return made


def _is_there(tensor: TensorProto, folder: Path | None) -> bool:
    """Whether a file has a tensor's values. Raises ValueError where it has others."""
    if any(side < 0 for side in tensor.dims):
        raise ValueError(f"{tensor.name} has sides of {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    bits = _BITS.get(tensor.data_type)
    wanted = None if bits is None else count * bits // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        return folder is not None and _is_in_file(tensor, folder, wanted)
    if tensor.HasField("raw_data"):
        if wanted is not None and len(tensor.raw_data) != wanted:
            raise ValueError(f"{tensor.name} has {len(tensor.raw_data)} bytes of {wanted}")
        return True
    return count == 0 or any(len(getattr(tensor, name)) for name in _VALUES)


def _is_in_file(tensor: TensorProto, folder: Path, wanted: int | None) -> bool:
    """Whether the file that a tensor names is as long as it must be; nothing of it is read."""
    info = ExternalDataInfo(tensor)
    path = folder / info.location
    if not path.is_file():
        return False
    start = info.offset or 0
    length = path.stat().st_size - start if info.length is None else info.length
    if wanted is not None and info.length is not None and length != wanted:
        raise ValueError(f"{tensor.name} has {length} bytes of {wanted}")
    return start + (length if wanted is None else wanted) <= path.stat().st_size


def with_shapes(proto: ModelProto) -> ModelProto:
    """A copy for ONNX's checker, which wants shapes that its format leaves open."""
    made = ModelProto()
    made.CopyFrom(proto)
    for value in (*made.graph.output, *made.graph.input):
        if not value.type.WhichOneof("value"):
            value.type.tensor_type.elem_type = TensorProto.FLOAT
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    return made


def _converted(model: Model, path: Path) -> Model:
    """Of an opset that is read here: older ones are converted by ONNX."""
    if model.opset >= OLDEST_OPSET:
        return model
    try:
        aligned = with_shapes(without_axes(model.proto))
        proto = onnx.version_converter.convert_version(aligned, OLDEST_OPSET)
    except Exception as error:  # of many types, from ONNX's C++
        raise InvalidGraph(
            f"{path}: opset {model.opset}, which ONNX cannot convert: {brief(error)}; "
            f"export it again with an opset from {OLDEST_OPSET} on"
        ) from None
    return Model(proto, model.weights, (*model.notes, f"converted from opset {model.opset}"))


def _inlined(model: Model, path: Path) -> Model:
    if not model.proto.functions:
        return model
    try:
        return Model(inline_local_functions(model.proto), model.weights, model.notes)
    except Exception as error:  # of many types, from ONNX's C++
        raise InvalidGraph(f"{path}: not valid ONNX: its functions: {brief(error)}") from None


def attributes(node: NodeProto) -> Mapping[str, Any]:
    """Attributes of a node by name; texts as ``str``."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def graph_of(node: NodeProto, name: str) -> GraphProto:
    """A branch or body of a node. Raises InvalidGraph where it has none of that name."""
    for attribute in node.attribute:
        if attribute.name == name and attribute.type == AttributeProto.GRAPH:
            graph: GraphProto = attribute.g
            return graph
    raise InvalidGraph(f"{node.op_type} {node.name or node.output[0]} has no {name}")
