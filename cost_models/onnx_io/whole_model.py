"""An ONNX file with its weights, to be compiled: every size a number, branches and loops written out."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor

from cost_models.errors import InvalidGraph
from cost_models.ir.op import Shape
from cost_models.onnx_io.model_file import Model, load, parsed, with_shapes
from cost_models.onnx_io.parameters import parameters_among
from cost_models.onnx_io.reader import Steps, steps
from cost_models.onnx_io.saving import fits_message, is_small
from targets.support.text import brief, near_miss

MOST_VALUES = 64  # that go in, or come out
_MOST_CHARS = 64  # of a name that people type and files get
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Value:
    """What goes into a network or comes out; ``dtype`` as numpy calls it."""

    name: str
    dtype: str
    shape: Shape

    @property
    def info(self) -> ValueInfoProto:
        """As ONNX says it."""
        return helper.make_tensor_value_info(self.name, onnx_dtype(self.dtype), self.shape)


@dataclass(frozen=True)
class WholeModel:
    """A network that can be compiled and run.

    Attributes:
        proto: checked; its inputs are ``inputs``, its outputs ``outputs``.
        frames: names of inputs whose channels are last.
        notes: what is unusual about its file, a phrase each.
    """

    proto: ModelProto
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    frames: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def read_whole(
    path: Path, size: tuple[int, int] | None = None, shapes: Mapping[str, Shape] | None = None
) -> WholeModel:
    """The network in a file.

    Args:
        size: height and width of its images, where the file leaves them open.
        shapes: of inputs by name, where it leaves more open. An open batch is 1.

    Raises:
        InvalidGraph: not a network that can be compiled, with the reason: what ``read_onnx`` refuses, weights
            that are not in it, results that do not depend on what goes in.
    """
    model = with_inputs(load(path), shapes or {}, str(path))
    order = [value.name for value in model.proto.graph.input]
    return _whole(steps(model, size, str(path)), path, order, parameters_among(model.proto.graph))


def input_names(path: Path) -> list[str]:
    """Names of what goes into the network in a file. Raises InvalidGraph as ``load``."""
    return [*_inputs(load(path))]


def _inputs(model: Model) -> dict[str, ValueInfoProto]:
    initial = {tensor.name for tensor in model.proto.graph.initializer}
    return {v.name: v for v in model.proto.graph.input if v.name not in model.weights | initial}


def with_inputs(model: Model, shapes: Mapping[str, Shape], name: str) -> Model:
    """A model in which some inputs have these shapes. Raises InvalidGraph where they cannot."""
    if not shapes:
        return model
    proto = with_shapes(model.proto)
    inputs = _inputs(Model(proto, model.weights))
    for key, shape in shapes.items():
        if key not in inputs:
            raise InvalidGraph(
                f"{name}: has no input {key!r}{near_miss(key, [*inputs])}; "
                f"allowed: {', '.join([*inputs][:_NAMED])}"
            )
        dims = inputs[key].type.tensor_type.shape.dim
        fixed = [dim.dim_value or None for dim in dims]
        if len(fixed) != len(shape) or any(a not in (None, b) for a, b in zip(fixed, shape, strict=True)):
            said = "x".join("?" if side is None else str(side) for side in fixed)
            raise InvalidGraph(
                f"{name}: input {key} is {said or 'a number'}, not {'x'.join(map(str, shape))}; "
                "give numbers for what is open (?), or export it again"
            )
        for dim, side in zip(dims, shape, strict=True):
            dim.dim_value = side
    return Model(proto, model.weights, model.notes)


def _whole(found: Steps, path: Path, order: Sequence[str], given: set[str]) -> WholeModel:
    """A model of the steps that run, with the weights of their file.

    Args:
        order: names of all inputs as the file has them.
        given: those among them that look like weights. Vectors may be what people give: they stay inputs.
    """
    nodes = [*found.weight_nodes, *found.nodes]
    read = dict.fromkeys(key for node in nodes for key in node.input if key)
    made = {key for node in nodes for key in node.output}
    there = _weights(path)
    absent = [key for key in order if key in read and key in given and key not in there]
    if large := [key for key in absent if len(found.shapes[key]) > 1]:
        raise InvalidGraph(f"{path}: weights are inputs ({_some(large)}); export it with its weights")
    inputs = [key for key in order if key in read and (key in found.inputs or key in absent)]
    _check_ends(found, inputs, path)
    missing = [key for key in read if key not in made and key not in inputs and key not in found.constants]
    tensors = [numpy_helper.from_array(found.constants[key], key) for key in read if key in found.constants]
    tensors += _taken(path, there, missing)
    taken = made.union(read)
    names = _plain_names(inputs, "input", taken) | _plain_names(found.outputs, "output", taken)
    if any(key != name for key, name in names.items()):
        nodes = [_renamed(node, names) for node in nodes]
    values = {
        key: Value(names[key], numpy_dtype(found.dtypes[key]), found.shapes[key])
        for key in (*inputs, *found.outputs)
    }
    goes_in = tuple(values[key] for key in inputs)
    comes_out = tuple(values[key] for key in dict.fromkeys(found.outputs))
    proto = model_of(path.name, nodes, goes_in, comes_out, tensors, found.opset)
    frames = frozenset(names[key] for key in found.frames if key in names)
    return WholeModel(proto, goes_in, comes_out, frames, found.notes)


def model_of(
    name: str,
    nodes: Sequence[NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    tensors: Iterable[TensorProto],
    opset: int,
) -> ModelProto:
    """A checked model. Raises InvalidGraph."""
    opsets = [helper.make_opsetid("", opset)]
    graph = helper.make_graph(nodes, name, [v.info for v in inputs], [v.info for v in outputs])
    version = helper.find_min_ir_version_for(opsets)
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=max(version, 4))
    for tensor in tensors:  # one by one: protobuf copies a message by writing it, which ends at 2 GiB
        if not fits_message(tensor):
            raise InvalidGraph(
                f"{name}: weights {tensor.name} take more than 2 GiB alone, which ONNX cannot hold; split it"
            )
        proto.graph.initializer.append(tensor)
    try:
        if is_small(proto):
            checker.check_model(proto)
    except Exception as error:  # of many types, from ONNX's C++
        raise InvalidGraph(f"{name}: not valid ONNX: {brief(error)}") from None
    return proto


def numpy_dtype(kind: int) -> str:
    """Numpy's name of an element type of ONNX."""
    return str(helper.tensor_dtype_to_np_dtype(kind))


def onnx_dtype(name: str) -> int:
    """ONNX's number of an element type of numpy."""
    import numpy as np

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(name)))


def _check_ends(found: Steps, inputs: Sequence[str], path: Path) -> None:
    if not inputs:
        raise InvalidGraph(f"{path}: its result does not depend on its input")
    if fixed := [key for key in found.outputs if found.is_known(key)]:
        raise InvalidGraph(
            f"{path}: output {fixed[0]} does not depend on what goes in; export it without that output"
        )
    for what, count in (("inputs", len(inputs)), ("outputs", len(found.outputs))):
        if count > MOST_VALUES:
            raise InvalidGraph(f"{path}: {count} {what}; allowed: {MOST_VALUES}")


def _weights(path: Path) -> dict[str, TensorProto]:
    """Of the file; those that lie beside it without their values."""
    proto = parsed(path)
    there = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.HasField("t") and node.output[0] not in there:
                    there[node.output[0]] = attribute.t
    return there


def _taken(path: Path, there: Mapping[str, TensorProto], wanted: Sequence[str]) -> Iterator[TensorProto]:
    """Weights with their values. Raises InvalidGraph where some are not there."""
    if absent := [key for key in wanted if key not in there]:
        raise InvalidGraph(f"{path}: weights are not there ({_some(absent)}); export it with its weights")
    for key in wanted:
        tensor = there[key]
        tensor.name = key
        if tensor.data_location == TensorProto.EXTERNAL:
            try:
                load_external_data_for_tensor(tensor, str(path.parent))
            except Exception as error:  # of many types; an open path among them
                raise InvalidGraph(
                    f"{path}: weights {key} cannot be read: {brief(error)}; export it again"
                ) from error
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        if not tensor.raw_data and math.prod(tensor.dims) and not _has_values(tensor):
            raise InvalidGraph(f"{path}: weights are not there ({key}); export it with its weights")
        yield tensor


def _has_values(tensor: TensorProto) -> bool:
    fields = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")
    return any(len(getattr(tensor, name)) for name in fields)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _plain_names(keys: Sequence[str], usual: str, taken: set[str]) -> dict[str, str]:
    """Names that can be typed, and stand in manifests: a file may have any."""
    names: dict[str, str] = {}
    for key in dict.fromkeys(keys):
        names[key] = key
        if not key.isprintable() or len(key) > _MOST_CHARS:
            names[key] = next(n for c in itertools.count() if (n := f"{usual}{c}") not in taken)
            taken.add(names[key])
    return names


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    made = NodeProto()
    made.CopyFrom(node)
    made.input[:] = [names.get(key, key) for key in node.input]
    made.output[:] = [names.get(key, key) for key in node.output]
    return made
