"""Branches, loops and sequences of ONNX written out, where the graph itself decides them.

Each function yields nodes in the order they run; whoever takes them computes what they are known to give,
before the next is asked for. So the round of a loop can decide whether there is another one.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, helper, numpy_helper

from cost_models.errors import InvalidGraph
from cost_models.ir.ops import Shape
from cost_models.onnx_io.folding import Values
from cost_models.onnx_io.model_file import attributes, graph_of

MOST_ROUNDS = 1000

Names = dict[str, str]
Sequences = dict[str, tuple[str, ...]]


class Flow:
    """What decides: values that are known so far, shapes, and sequences as the names of their elements."""

    def __init__(self, opset: int, constants: Values, shapes: Mapping[str, Shape]) -> None:
        self.opset, self.constants, self.shapes = opset, constants, shapes
        self.sequences: Sequences = {}

    def written_out(self, node: NodeProto) -> Iterator[NodeProto] | None:
        """Nodes that do what a node of flow does; None for any other node.

        Raises:
            InvalidGraph: it decides while it runs.
        """
        if node.op_type == "Identity" and node.input[0] in self.sequences:
            self.sequences[node.output[0]] = self.sequences[node.input[0]]
            return iter(())
        return _FLOW[node.op_type](self, node) if node.op_type in _FLOW else None

    def value(self, node: NodeProto, place: int, usual: Any = None) -> Any:
        """What an input of a node is known to be. Raises InvalidGraph where it is not."""
        key = node.input[place] if place < len(node.input) else ""
        if not key:
            return usual
        if key not in self.constants:
            raise undecided(node)
        return self.constants[key].item() if self.constants[key].size == 1 else self.constants[key].tolist()

    def elements(self, node: NodeProto) -> tuple[str, ...]:
        """Of the sequence that a node reads first."""
        if node.input[0] not in self.sequences:
            raise undecided(node)
        return self.sequences[node.input[0]]


def undecided(node: NodeProto) -> InvalidGraph:
    """A node whose work is not known before it runs."""
    return InvalidGraph(
        f"{node.op_type} {node.name or node.output[0]} decides while it runs how often what runs; "
        "export it unrolled, for fixed sizes"
    )


def _if(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    branch = graph_of(node, "then_branch" if flow.value(node, 0) else "else_branch")
    names: Names = {}
    yield from _copied(branch, names, f"{node.output[0]}.")
    yield from _passed(node, [names.get(value.name, value.name) for value in branch.output])


def _loop(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    body, most = graph_of(node, "body"), flow.value(node, 0)
    asks = len(node.input) > 1 and bool(node.input[1])
    goes_on, carried = bool(flow.value(node, 1, True)), list(node.input[2:])
    rounds: list[list[str]] = []
    while goes_on and (most is None or len(rounds) < most):
        prefix = f"{node.output[0]}.{len(rounds)}."
        if len(rounds) == MOST_ROUNDS:
            raise InvalidGraph(f"Loop {node.name or node.output[0]}: more than {MOST_ROUNDS:,} rounds")
        counts = {"#round": np.array(len(rounds), np.int64), "#on": np.array(True)}
        yield from (_constant(prefix + name, value) for name, value in counts.items())
        names = _bound(body, [prefix + "#round", prefix + "#on", *carried])
        yield from _copied(body, names, prefix)
        on, *made = (names.get(value.name, value.name) for value in body.output)
        if asks and on not in flow.constants:
            raise undecided(node)
        goes_on = not asks or bool(flow.constants[on])
        carried = made[: len(carried)]
        rounds.append(made[len(carried) :])
    yield from _passed(node, carried)
    for key, parts in zip(node.output[len(carried) :], zip(*rounds, strict=True), strict=False):
        yield from _stacked(flow, key, parts, 0)


def _scan(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    """Once for each element along an axis of its last inputs."""
    given = attributes(node)
    body, count = graph_of(node, "body"), given["num_scan_inputs"]
    carried, scanned = list(node.input[:-count]), node.input[-count:]
    axes, backwards = (
        given.get("scan_input_axes", [0] * count),
        given.get("scan_input_directions", [0] * count),
    )
    length = flow.shapes[scanned[0]][axes[0]]
    if flow.opset < 9 or length > MOST_ROUNDS:  # before that it counted batches, too
        raise undecided(node)
    rounds: list[list[str]] = []
    for index in range(length):
        prefix = f"{node.output[0]}.{index}."
        for key, axis, is_back in zip(scanned, axes, backwards, strict=True):
            place = _constant(f"{prefix}{key}.at", np.array(length - 1 - index if is_back else index))
            yield place
            yield helper.make_node("Gather", [key, place.output[0]], [f"{prefix}{key}"], axis=axis)
        names = _bound(body, [*carried, *(f"{prefix}{key}" for key in scanned)])
        yield from _copied(body, names, prefix)
        made = [names.get(value.name, value.name) for value in body.output]
        carried, parts = made[: len(carried)], made[len(carried) :]
        rounds.append(parts)
    yield from _passed(node, carried)
    outputs = list(node.output[len(carried) :])
    axes_out = given.get("scan_output_axes", [0] * len(outputs))
    for key, axis, made_parts in zip(outputs, axes_out, zip(*rounds, strict=True), strict=False):
        yield from _stacked(flow, key, made_parts, axis)


def _bound(body: GraphProto, values: Sequence[str]) -> Names:
    """A body's inputs -> what they are in this round."""
    return dict(zip((value.name for value in body.input), values, strict=True))


def _copied(graph: GraphProto, names: Names, prefix: str) -> Iterator[NodeProto]:
    """The nodes of a branch or body, with names of their own, which are added to ``names``."""
    for tensor in graph.initializer:
        names[tensor.name] = prefix + tensor.name
        yield helper.make_node("Constant", [], [prefix + tensor.name], value=tensor)
    for node in graph.node:
        made = NodeProto()
        made.CopyFrom(node)
        made.input[:] = [names.get(key, key) for key in node.input]
        names |= {key: prefix + key for key in node.output if key}
        made.output[:] = [key and prefix + key for key in node.output]
        for attribute in made.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _rename_outer(attribute.g, names)
        yield made


def _rename_outer(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename what a graph reads from around it."""
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {key for node in graph.node for key in node.output}
    outer = {key: name for key, name in names.items() if key not in own}
    for node in graph.node:
        node.input[:] = [outer.get(key, key) for key in node.input]
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _rename_outer(attribute.g, outer)
    for value in graph.output:
        value.name = outer.get(value.name, value.name)


def _passed(node: NodeProto, values: Sequence[str]) -> Iterator[NodeProto]:
    """Values under the names of a node's outputs."""
    pairs = zip(node.output, values, strict=False)
    return (helper.make_node("Identity", [value], [key]) for key, value in pairs if key)


def _constant(name: str, value: Any) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))


def _stacked(flow: Flow, key: str, parts: Sequence[str], axis: int) -> Iterator[NodeProto]:
    """Parts side by side along a new axis."""
    if not key:
        return
    yield _constant(f"{key}.axis", np.array([axis], np.int64))
    wide = [f"{key}.part.{index}" for index in range(len(parts))]
    for part, name in zip(parts, wide, strict=True):
        if flow.opset >= 13:
            yield helper.make_node("Unsqueeze", [part, f"{key}.axis"], [name])
        else:
            yield helper.make_node("Unsqueeze", [part], [name], axes=[axis])
    yield helper.make_node("Concat", wide, [key], axis=axis)


def _split(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    given = attributes(node)
    shape, sizes = flow.shapes[node.input[0]], flow.value(node, 1)
    axis = given.get("axis", 0) % len(shape)
    side, single = shape[axis], sizes is None and not given.get("keepdims", 1)
    if not isinstance(sizes, list):
        step = max(sizes or 1, 1)
        sizes = [min(step, side - start) for start in range(0, side, step)]
    if len(sizes) > MOST_ROUNDS:
        raise InvalidGraph(f"{node.op_type} {node.name or node.output[0]}: more than {MOST_ROUNDS:,} parts")
    names = tuple(f"{node.output[0]}.{index}" for index in range(len(sizes)))
    flow.sequences[node.output[0]] = names
    for name, end, size in zip(names, itertools.accumulate(sizes), sizes, strict=True):
        if single:
            yield _constant(f"{name}.at", np.array(end - 1))
            yield helper.make_node("Gather", [node.input[0], f"{name}.at"], [name], axis=axis)
            continue
        ends = {"from": end - size, "to": end, "axis": axis}
        yield from (_constant(f"{name}.{key}", np.array([value])) for key, value in ends.items())
        yield helper.make_node("Slice", [node.input[0], *(f"{name}.{key}" for key in ends)], [name])


def _sequence(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    """Operations that change sequences alone."""
    elements = [] if node.op_type == "SequenceEmpty" else list(node.input)
    if node.op_type in ("SequenceInsert", "SequenceErase"):
        elements = list(flow.elements(node))
        inserts = node.op_type == "SequenceInsert"
        place = flow.value(node, 1 + inserts, len(elements) if inserts else -1)
        elements[place:place] = [node.input[1]] if inserts else []
        elements = elements if inserts else [e for i, e in enumerate(elements) if i != place % len(elements)]
    flow.sequences[node.output[0]] = tuple(elements)
    yield from ()


def _element(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    elements, place = flow.elements(node), flow.value(node, 1)
    if not -len(elements) <= place < len(elements):
        raise InvalidGraph(
            f"{node.op_type} {node.name or node.output[0]}: no element {place} of {len(elements)}"
        )
    yield from _passed(node, [elements[place]])


def _joined(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    given = attributes(node)
    elements = flow.elements(node)
    if given.get("new_axis", 0):
        yield from _stacked(flow, node.output[0], elements, given["axis"])
    else:
        yield helper.make_node("Concat", elements, [node.output[0]], axis=given["axis"])


def _mapped(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    """A body for each element, or for elements of several sequences at a time."""
    body, rounds = graph_of(node, "body"), list[list[str]]()
    for index in range(len(flow.elements(node))):
        prefix = f"{node.output[0]}.{index}."
        given = [flow.sequences[key][index] if key in flow.sequences else key for key in node.input]
        names = _bound(body, given)
        yield from _copied(body, names, prefix)
        rounds.append([names.get(value.name, value.name) for value in body.output])
    for place, key in enumerate(node.output):
        flow.sequences[key] = tuple(made[place] for made in rounds)


def _present(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    """Optional values are there: a graph of fixed sizes has no others."""
    if node.op_type == "OptionalHasElement":
        yield _constant(node.output[0], np.array(bool(node.input and node.input[0])))
    elif not node.input or not node.input[0]:
        raise undecided(node)
    else:
        yield from _passed(node, node.input[:1])


def _length(flow: Flow, node: NodeProto) -> Iterator[NodeProto]:
    yield _constant(node.output[0], np.array(len(flow.elements(node)), np.int64))


_FLOW: Mapping[str, Callable[[Flow, NodeProto], Iterator[NodeProto]]] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SplitToSequence": _split,
    "SequenceAt": _element,
    "SequenceLength": _length,
    "SequenceMap": _mapped,
    "ConcatFromSequence": _joined,
    **dict.fromkeys(("Optional", "OptionalGetElement", "OptionalHasElement"), _present),
    **dict.fromkeys(("SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase"), _sequence),
}
