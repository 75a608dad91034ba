"""A graph cut into fused kernels, the unit that is tuned and timed.

The cut follows TVM's FuseOps on the operations that networks here are made of, so that a kernel timed alone
is the kernel inside the compiled network (tests compare the two for every block). Needs no TVM: tables are
read and composed without it.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, Node, fold_batch_norm
from cost_models.ir.op import Op, Pattern, Shape
from cost_models.ir.ops import OPS, ArgMax, Crop, Foreign, Resize, ToByte

_MOVES: tuple[Pattern, ...] = ("elementwise", "broadcast", "injective")
_REPEATS: tuple[Pattern, ...] = ("elementwise", "broadcast")
# What ``Foreign.fusion`` is called in descriptions: keys are hashes of these older words
_KEPT_WORDS: dict[str, str] = {
    "injective": "moving",
    "out_elementwise_fusable": "anchor",
    "comm_reduce": "alone",
}
_LATER_FIELDS: dict[str, Any] = {"steps": 0, "counted": True}
_READ_WORDS = {old: new for new, old in _KEPT_WORDS.items()}


@dataclass(frozen=True)
class Kernel:
    """A fused kernel at fixed shapes. Equal structure means equal kernel, wherever it came from.

    Attributes:
        graph: its operations; sizes are numbers, batch normalisation is folded, names are canonical.
        inputs: shape of each input, in the order of ``graph.inputs``; the first dimension is the batch.
        module: structural hash of what TVM makes of it, where its operations do not tell that: a piece of
            somebody else's network, which then ``graph`` describes for estimates alone. Else empty.
        code: TVM's IRModule of that hash, where whoever has the kernel lowered its network.
    """

    graph: Graph
    inputs: tuple[Shape, ...]
    module: str = ""
    code: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def input_shapes(self) -> dict[str, Shape]:
        """Input name -> shape."""
        return dict(zip(self.graph.inputs, self.inputs, strict=True))

    @cached_property
    def description(self) -> dict[str, object]:
        """Everything that makes the kernel what it is, as JSON can hold it."""
        nodes = [
            {"name": n.name, "op": type(n.op).__name__, **_fields(n.op), "inputs": list(n.inputs)}
            for n in self.graph.nodes
        ]
        ends = {"inputs": [list(s) for s in self.inputs], "outputs": list(self.graph.outputs)}
        return {**ends, "nodes": nodes, **({"module": self.module} if self.module else {})}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "Kernel":
        """The kernel that has this ``description``, as a store keeps it.

        Raises InvalidGraph for operations that are not known here.
        """
        nodes = [Node(entry["name"], _op(entry), tuple(entry["inputs"])) for entry in description["nodes"]]
        inputs = tuple(tuple(shape) for shape in description["inputs"])
        names = tuple(f"x{index}" for index in range(len(inputs)))
        graph = Graph(names, tuple(nodes), tuple(description["outputs"]))
        return cls(graph, inputs, description.get("module", ""))

    @cached_property
    def key(self) -> str:
        """Name on disk: a label for people and eight digits of the description's SHA-256 for certainty."""
        text = json.dumps(self.description, sort_keys=True)
        return f"{self.label} #{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def output_shape(self) -> Shape:
        return self.graph.shapes(self.input_shapes)[self.graph.outputs[0]]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of its convolutions."""
        return self.graph.macs(self.input_shapes)

    @property
    def steps(self) -> int:
        """What runs in place of its multiply-accumulates, see ``Foreign``; 0 where these are all."""
        shapes = self.graph.shapes(self.input_shapes)
        return sum(node.op.comparisons(shapes[node.name]) for node in self.graph.nodes)

    @property
    def compared(self) -> int:
        """Values among which the largest channel is told; those of a resized map are never stored."""
        shapes = self.graph.shapes(self.input_shapes)
        told = (node for node in self.graph.nodes if isinstance(node.op, ArgMax))
        return sum(math.prod(shapes[node.inputs[0]]) for node in told)

    @property
    def work(self) -> int:
        """All that it computes, one by one."""
        return self.steps or self.compared or self.macs

    @property
    def work_class(self) -> str:
        """Class of ``work`` by which its latency is told: ``kind``, or that of what is no convolution."""
        return "depthwise" if self.steps or self.compared else self.kind

    @property
    def is_counted(self) -> bool:
        """Whether all its work is known."""
        return all(node.op.counted for node in self.graph.nodes if isinstance(node.op, Foreign))

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written, every value once, in float32: a measure of traffic in any type."""
        return self.graph.bytes_moved(self.input_shapes)

    @property
    def kind(self) -> str:
        """Class of work: ``dense``, ``pointwise``, ``grouped``, ``depthwise`` or ``memory``."""
        kinds = (node.op.work_kind for node in self.graph.nodes)
        return next((kind for kind in kinds if kind != "memory"), "memory")

    @property
    def is_foreign(self) -> bool:
        """Whether it holds an operation unlike all that tables know; what is elementwise is like others."""
        return any(
            isinstance(node.op, Foreign) and node.op.pattern != "elementwise" for node in self.graph.nodes
        )

    @property
    def is_writable(self) -> bool:
        """Whether it can be written and built from its description alone; foreign operations cannot."""
        return not self.module and not any(isinstance(node.op, Foreign) for node in self.graph.nodes)

    @property
    def family(self) -> str:
        """Its operations with window, stride, dilation and groups, without sizes."""
        return self.label.rpartition(" ")[0]

    @cached_property
    def label(self) -> str:
        """Short text: operations, input and output shape without the batch."""
        steps = "+".join(node.op.label for node in self.graph.nodes)
        ends = "->".join("x".join(map(str, shape[1:])) for shape in (self.inputs[0], self.output_shape))
        return f"{steps} {ends}"


def _fields(op: Op) -> dict[str, Any]:
    fields = asdict(op)
    if isinstance(op, Foreign):
        fields["fusion"] = _KEPT_WORDS.get(op.fusion, op.fusion)
        for name, usual in _LATER_FIELDS.items():  # keys are as they were before there were such
            if fields[name] == usual:
                del fields[name]
    return fields


def _op(entry: Mapping[str, Any]) -> Op:
    """The operation of a described node."""
    fields = {name: value for name, value in entry.items() if name not in ("name", "op", "inputs")}
    given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
    if entry["op"] not in OPS:
        raise InvalidGraph(
            f"{entry['name']}: no operation is called {entry['op']!r}; known are {', '.join(OPS)} "
            "(cost_models/ir/ops.py); was this written by a newer version?"
        )
    if OPS[entry["op"]] is Foreign:
        given["fusion"] = _READ_WORDS.get(given["fusion"], given["fusion"])
    return OPS[entry["op"]](**given)


def split_into_kernels(graph: Graph, inputs: Mapping[str, Shape]) -> list[Kernel]:
    """Kernels that run for a graph, in order; equal ones appear as often as they run.

    A graph without operations (the identity skip) gives none.
    """
    return [call.kernel for call in kernel_calls(graph, inputs)]


@dataclass(frozen=True)
class Call:
    """A kernel at its place in a graph.

    Attributes:
        nodes: names of the graph's nodes that it computes, in order; the last is the value that it makes.
        reads: names of the values that it reads, in the order of ``kernel.inputs``.
    """

    kernel: Kernel
    nodes: tuple[str, ...]
    reads: tuple[str, ...]


def kernel_calls(graph: Graph, inputs: Mapping[str, Shape]) -> list[Call]:
    """``split_into_kernels``, each with its place in the graph."""
    pinned = fold_batch_norm(graph).pinned(inputs)
    shapes = pinned.shapes(inputs)
    return [_cut(pinned, nodes, shapes) for nodes in _group(pinned, shapes)]


@dataclass(eq=False)
class _Group:
    """Nodes of a kernel, and what decides what else joins it.

    Attributes:
        moves: all only move or combine elements.
        reduces: one of them fuses with nothing.
        repeats: all give elements as they are, or repeat them.
    """

    nodes: list[Node]
    moves: bool
    reduces: bool
    repeats: bool

    def take(self, other: "_Group") -> None:
        """Add the nodes of another."""
        self.nodes += other.nodes
        self.moves &= other.moves
        self.reduces |= other.reduces
        self.repeats &= other.repeats


def _group(graph: Graph, shapes: Mapping[str, Shape]) -> list[list[Node]]:
    """Nodes of each kernel. Greedy form of FuseOps: a value with one reader may join its reader's kernel.

    A convolution or a reduction takes in the elementwise operations that follow it, and what is elementwise
    or repeats elements on their other inputs. What only moves or combines elements joins its like; what is
    elementwise or repeats elements also joins a reduction behind it that takes in nothing else. An argmax
    of a resized map is one kernel with the resize (``lowering.labels``).
    """
    group_of = _labelled(graph)
    for node in graph.nodes:
        if node.name in group_of:
            continue
        pattern = node.op.pattern
        own = _Group([node], pattern in _MOVES, pattern == "comm_reduce", _repeats(node, shapes))
        parts = [own, *_joinable(graph, node, group_of)]
        target = max(parts, key=lambda part: len(part.nodes))
        for part in parts:
            if part is not target:
                target.take(part)
                group_of.update((member.name, target) for member in part.nodes)
        group_of[node.name] = target
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    groups = [group.nodes for group in dict.fromkeys(group_of.values())]
    for nodes in groups:
        nodes.sort(key=lambda n: order[n.name])
    return sorted(groups, key=lambda nodes: order[nodes[-1].name])


def _labelled(graph: Graph) -> dict[str, _Group]:
    """Groups of a resize, what crops it, the largest channel of that, and its index as a byte."""
    group_of: dict[str, _Group] = {}
    makers = {node.name: node for node in graph.nodes}
    readers = {name: node for node in graph.nodes for name in node.inputs}

    def alone(node: Node) -> bool:
        return len(graph.consumers.get(node.name, ())) == 1 and node.name not in graph.outputs

    for node in graph.nodes:
        if not isinstance(node.op, ArgMax):
            continue
        nodes = [node]
        while (before := makers.get(nodes[0].inputs[0])) is not None and alone(before):
            if not isinstance(before.op, Resize if isinstance(nodes[0].op, Crop) else Resize | Crop):
                break
            nodes.insert(0, before)
            if isinstance(before.op, Resize):
                break
        if not isinstance(nodes[0].op, Resize):
            continue
        if alone(node) and isinstance(readers[node.name].op, ToByte):
            nodes.append(readers[node.name])
        group = _Group(nodes, moves=False, reduces=True, repeats=False)
        group_of.update((member.name, group) for member in nodes)
    return group_of


def _joinable(graph: Graph, node: Node, group_of: Mapping[str, _Group]) -> list[_Group]:
    """Groups of the node's inputs that go on with this node; at most one of them holds a convolution."""
    joined: list[_Group] = []
    has_work = False
    for name in node.inputs:
        group = group_of.get(name)
        if group is None or len(graph.consumers[name]) > 1 or name in graph.outputs or group in joined:
            continue
        if group.moves:
            joins = node.op.pattern in _MOVES or (node.op.pattern == "comm_reduce" and group.repeats)
        else:
            joins = not group.reduces and node.op.pattern == "elementwise" and not has_work
            has_work = has_work or joins
        if joins:
            joined.append(group)
    if has_work:  # from the other inputs it takes what is elementwise or repeats elements, no more
        joined = [group for group in joined if group.repeats or not group.moves]
    return joined


def _repeats(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """Whether every element of the result is one of the input's at the same place, or at the only place."""
    single = node.op.sort == "resizes" and shapes[node.inputs[0]][2:] == (1, 1)
    return single or node.op.pattern in _REPEATS


def _cut(graph: Graph, nodes: list[Node], shapes: Mapping[str, Shape]) -> Call:
    """The nodes as a graph of their own, with canonical names."""
    members = {node.name for node in nodes}
    outside = dict.fromkeys(name for node in nodes for name in node.inputs if name not in members)
    names = {name: f"x{index}" for index, name in enumerate(outside)}
    names |= {node.name: f"n{index}" for index, node in enumerate(nodes)}
    cut = tuple(Node(names[n.name], n.op, tuple(names[i] for i in n.inputs)) for n in nodes)
    kernel = Graph(tuple(names[name] for name in outside), cut, (cut[-1].name,))
    return Call(
        Kernel(kernel, tuple(shapes[name] for name in outside)),
        tuple(node.name for node in nodes),
        tuple(outside),
    )
