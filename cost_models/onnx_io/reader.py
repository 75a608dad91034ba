"""An ONNX model as the steps that run, all sizes known: what only computes sizes or weights is left out.

Sizes that the graph computes (as exporters write resizes and reshapes), and branches and loops that it
decides itself, are followed here: such networks need no run-time. What no output needs is passed over. No
PyTorch, no TVM.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from cost_models.errors import InvalidGraph
from cost_models.ir.ops import Shape
from cost_models.onnx_io.flow import Flow, undecided
from cost_models.onnx_io.folding import LARGEST, LARGEST_CONSTANT, Array, TooLarge, computed, inferred
from cost_models.onnx_io.layout import frames
from cost_models.onnx_io.model_file import MOST_NODES, Model, attributes
from cost_models.onnx_io.parameters import parameters_among
from targets.support.text import brief

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_ALLOWED = f"allowed are {LARGEST_CONSTANT:,}"
_RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Steps:
    """The nodes of a network that run, in order.

    Attributes:
        inputs, outputs: names of the values that go in and come out.
        opset: version of the operations.
        shapes: of every value, by name.
        dtypes: of every value, numbers of ONNX's ``TensorProto.DataType``.
        constants: values that are known before the network runs, where they may be sizes.
        weights: names of larger values that do not depend on what goes in.
        weight_nodes: those that make such values of others, in order.
        frames: inputs whose channels are last, by what is done with them.
        notes: what is unusual about the file, a phrase each.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    weight_nodes: list[NodeProto] = field(default_factory=list)
    frames: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @cached_property
    def makers(self) -> Mapping[str, NodeProto]:
        """Value -> the node that makes it."""
        return {key: node for node in self.nodes for key in node.output if key}

    @cached_property
    def readers(self) -> Mapping[str, int]:
        """Value -> how many nodes and outputs read it."""
        return Counter(key for node in self.nodes for key in node.input) + Counter(self.outputs)

    def is_known(self, key: str) -> bool:
        """Whether a value does not depend on what goes in."""
        return key in self.constants or key in self.weights

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


def steps(model: Model, size: tuple[int, int] | None, name: str) -> Steps:
    """The steps of a model for one size of its images.

    Args:
        model: as ``load`` and ``without_weights`` give it.
        size: height and width; may be None where the model has them. An open batch is 1.
        name: for messages.

    Raises:
        InvalidGraph: open sizes, other sizes than these, sizes that do not fit the network, sizes or work
            that depend on what the network computes; or it is quantised.
    """
    walk = _Walk(model, size, name)
    for node in model.proto.graph.node:
        walk.take(node)
    return walk.needed()


class _Walk:
    """Goes through the nodes in order. What fails is kept until it turns out that an output needs it."""

    def __init__(self, model: Model, size: tuple[int, int] | None, name: str) -> None:
        graph = model.proto.graph
        loose = parameters_among(graph) - model.weights
        inputs = [value for value in graph.input if value.name not in model.weights]
        inputs = [value for value in inputs if value.name not in {t.name for t in graph.initializer}]
        images = tuple(value.name for value in inputs if value.name not in loose)
        notes = (*model.notes, *_loose_note([v.name for v in inputs if v.name in loose]))
        self.name, self.failed, self.taken = name, dict[str, InvalidGraph](), 0
        outputs = tuple(value.name for value in graph.output)
        self.found = Steps(images, outputs, model.opset, frames=frames(graph), notes=notes)
        self.flow = Flow(model.opset, self.found.constants, self.found.shapes)
        for value in inputs:
            self._take_input(value, None if value.name in loose else size)
        for value in graph.input:
            if value.name in model.weights:
                self._add_weights(value)
        for tensor in graph.initializer:
            self._take_constant(tensor)
        self.found.weights.update(loose)

    def _take_input(self, value: ValueInfoProto, size: tuple[int, int] | None) -> None:
        try:
            is_frame = value.name in self.found.frames
            self.found.shapes[value.name] = input_shape(value, size, self.name, is_frame=is_frame)
            self.found.dtypes[value.name] = value.type.tensor_type.elem_type
        except InvalidGraph as error:
            self.failed[value.name] = error

    def _take_constant(self, tensor: TensorProto) -> None:
        try:
            self._add_constant(tensor.name, numpy_helper.to_array(tensor))
        except Exception as error:  # of many types, from ONNX's readers of tensors
            told = InvalidGraph(f"{self.name}: constant {tensor.name} makes no sense: {brief(error)}")
            self.failed[tensor.name] = told

    def _add_weights(self, value: ValueInfoProto) -> None:
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        if math.prod(shape) > LARGEST:
            raise TooLarge(f"{self.name}: weights {value.name} have {math.prod(shape):,} elements")
        self.found.shapes[value.name], self.found.dtypes[value.name] = shape, tensor.elem_type
        self.found.weights.add(value.name)

    def _add_constant(self, key: str, values: Array) -> None:
        self.found.constants[key] = values
        self.found.shapes[key] = values.shape
        self.found.dtypes[key] = helper.np_dtype_to_tensor_dtype(values.dtype)

    def take(self, node: NodeProto) -> None:
        """Compute a node that needs no image; of any other tell the shapes that it makes."""
        self.taken += 1
        if self.taken > MOST_NODES:
            raise InvalidGraph(f"{self.name}: more than {MOST_NODES:,} operations, loops written out")
        try:
            for key in node.input:
                if key in self.failed:
                    raise self.failed[key]
            written = self.flow.written_out(node)
            if written is None:
                self._run_or_keep(node)
            else:
                for inner in written:
                    self.take(inner)
        except TooLarge:
            raise
        except InvalidGraph as error:
            told = str(error) if str(error).startswith(f"{self.name}: ") else f"{self.name}: {error}"
            self.failed |= {key: InvalidGraph(told) for key in node.output if key}
        except Exception as error:  # of many types, where attributes make no sense
            what = f"{self.name}: {_title(node)} makes no sense: {brief(error)}"
            self.failed |= {key: InvalidGraph(what) for key in node.output if key}

    def _run_or_keep(self, node: NodeProto) -> None:
        found, read = self.found, [key for key in node.input if key]
        _check(node)
        if node.op_type == "Shape" and read[0] not in found.constants:
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            shape = found.shapes[read[0]][slice(bounds.get("start"), bounds.get("end"))]
            self._add_constant(node.output[0], np.array(shape, np.int64))
            return
        try:
            made = inferred(node, found.opset, found.shapes, found.dtypes, found.constants)
            values = computed(node, found.opset, made, found.constants)
        except TooLarge as error:
            raise TooLarge(f"{self.name}: {_title(node)}: {error}") from None
        except Exception as error:  # of many types, from ONNX's C++ and its reference operations
            raise InvalidGraph(
                f"{_title(node)} does not fit its inputs: {brief(error)}; try another size"
            ) from error
        for key, value in (values or {}).items():
            self._add_constant(key, value)
        if values is None:
            self._keep(node, made)

    def _keep(self, node: NodeProto, made: Mapping[str, tuple[Shape, int]]) -> None:
        """A node that is not computed: it runs, or makes weights of weights."""
        found = self.found
        is_known = all(found.is_known(key) for key in node.input if key)
        for key in filter(None, node.output):
            if key not in made:
                self.failed[key] = InvalidGraph(f"{self.name}: {_title(node)}: {self._unknown(node, key)}")
                continue
            found.shapes[key], found.dtypes[key] = made[key]
            if is_known and math.prod(made[key][0]) > LARGEST_CONSTANT:
                count = math.prod(made[key][0])
                raise TooLarge(f"{self.name}: constant {key} has {count:,} elements; {_ALLOWED}")
            if is_known:
                found.weights.add(key)
            elif math.prod(made[key][0]) == 0 and any(math.prod(shape) for shape, _ in made.values()):
                self._add_constant(key, np.zeros(made[key][0], helper.tensor_dtype_to_np_dtype(made[key][1])))
            elif math.prod(made[key][0]) == 0:
                self.failed[key] = InvalidGraph(
                    f"{self.name}: {_title(node)} leaves nothing of its input; give a larger size"
                )
        (found.weight_nodes if is_known else found.nodes).append(node)

    def _unknown(self, node: NodeProto, key: str) -> str:
        unread = [name for name in node.input if name in self.found.weights]
        if any(self.found.dtypes[name] == TensorProto.INT64 for name in unread):
            return f"the shape of {key} depends on values of {unread[-1]} that are not there"
        return f"the shape of {key} depends on what the network computes; export it for fixed sizes"

    def needed(self) -> Steps:
        """The steps that outputs depend on.

        Raises:
            InvalidGraph: one of them failed.
        """
        outputs = [e for key in self.found.outputs for e in self.flow.sequences.get(key, (key,))]
        for key in outputs:
            if key in self.failed:
                raise self.failed[key]
        wanted = set(outputs)
        nodes, weight_nodes = _needed(self.found.nodes, wanted), _needed(self.found.weight_nodes, wanted)
        return replace(self.found, outputs=tuple(outputs), nodes=nodes, weight_nodes=weight_nodes)


def _needed(nodes: Sequence[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """Nodes that make what is wanted; what they read is wanted from then on."""
    kept = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _title(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or next(filter(None, node.output), '')}"


def _check(node: NodeProto) -> None:
    """Refuse what runs otherwise than once, node by node, in floating point."""
    kind = node.op_type
    if kind in _QUANTISED or kind.startswith(("QLinear", "QGemm")):
        raise InvalidGraph(
            f"quantised ({kind}); latencies are of floating point: export it before quantisation"
        )
    if kind in _RECURRENT:
        raise InvalidGraph(f"{_title(node)} runs step by step, which nothing here tells the latency of")
    if kind.startswith(("Sequence", "Optional")):
        raise undecided(node)
    if node.domain not in ("", "ai.onnx"):
        raise InvalidGraph(f"{kind} of {node.domain} is no operation of ONNX; export it without that domain")


def _loose_note(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (f"weights are inputs ({names[0]}{more}): counted as weights",)


def input_shape(value: ValueInfoProto, size: tuple[int, int] | None, name: str, *, is_frame: bool) -> Shape:
    """Sides of an input, open ones filled in. Raises InvalidGraph where some stay open or are others."""
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
    if math.prod(known) > LARGEST:
        raise TooLarge(f"{name}: input {value.name} has {math.prod(known):,} elements; allowed: {LARGEST:,}")
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
