"""A network, or a piece of one, as a graph of operations. Free of sizes until shapes are asked for.

The one description from which ONNX, the PyTorch module and every count are derived. Graphs, not chains:
a node names the values it reads, so branches, taps and multi-branch cells need nothing extra.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from cost_models.errors import InvalidGraph
from cost_models.ir.ops import BatchNorm2d, Conv2d, Op, Shape

BYTES_PER_ELEMENT = {
    "float64": 8,
    "float32": 4,
    "single": 4,  # float32 whatever the type of the network
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "uint8": 1,
}


def element_bytes(kind: str, dtype: str) -> int:
    """Of a value that an operation calls ``kind``, in a network whose maps are of ``dtype``."""
    return BYTES_PER_ELEMENT[dtype if kind == "float32" else kind]


@dataclass(frozen=True)
class Node:
    """One operation in a graph. The node's name is also the name of the value it makes.

    Attributes:
        inputs: names of the values it reads.
        size_of: name of the value whose spatial size the output takes (operations that take a size only).
        size_over: that size is divided by this, rounding down.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    size_of: str | None = None
    size_over: int = 1


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order.

    Raises InvalidGraph when a name is used twice, is read before it is made, or an input count is wrong.
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        known = set(self.inputs)
        for node in self.nodes:
            wanted = (*node.inputs, *((node.size_of,) if node.size_of else ()))
            missing = [name for name in wanted if name not in known]
            if missing:
                raise InvalidGraph(f"{node.name}: reads {missing[0]!r}, which no earlier node makes")
            if node.name in known:
                raise InvalidGraph(f"{node.name}: the name is used twice")
            if node.op.arity not in (None, len(node.inputs)):
                raise InvalidGraph(f"{node.name}: takes {node.op.arity} input(s), got {len(node.inputs)}")
            known.add(node.name)
        for name in self.outputs:
            if name not in known:
                raise InvalidGraph(f"output {name!r} is made by no node")

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Value name -> nodes that read its data, in order."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    def shapes(self, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shape of every value for the given input shapes. Raises InvalidGraph naming the first bad node."""
        shapes = {name: tuple(inputs[name]) for name in self.inputs}
        for node in self.nodes:
            shapes[node.name] = self._node_shape(node, shapes)
        return shapes

    def _node_shape(self, node: Node, shapes: Mapping[str, Shape]) -> Shape:
        size = None
        if node.size_of is not None:
            height, width = shapes[node.size_of][2:]
            size = (height // node.size_over, width // node.size_over)
        try:
            return node.op.output_shape([shapes[name] for name in node.inputs], size)
        except InvalidGraph as error:
            raise InvalidGraph(f"{node.name}: {error}") from None

    def dtype(self, name: str) -> str:
        """Element type of a value: what its maker makes, or what the readers of an input read."""
        for node in self.nodes:
            if node.name == name:
                return node.op.output_dtype
        readers = self.consumers.get(name, ())
        return readers[0].op.reads(readers[0].inputs.index(name)) if readers else "float32"

    def pinned(self, inputs: Mapping[str, Shape]) -> "Graph":
        """The graph for one input size: sizes are numbers.

        Inputs that only gave sizes are dropped, and so is what does nothing at this size.
        """
        shapes = self.shapes(inputs)
        same: dict[str, str] = {}  # what does nothing -> what it gives back
        nodes = []
        for node in self.nodes:
            if node.op.is_idle([shapes[name] for name in node.inputs], shapes[node.name]):
                same[node.name] = same.get(node.inputs[0], node.inputs[0])
            else:
                nodes.append(_pin(node, shapes[node.name], same))
        outputs = tuple(same.get(name, name) for name in self.outputs)
        read = {name for node in nodes for name in node.inputs} | set(outputs)
        return Graph(tuple(i for i in self.inputs if i in read), tuple(nodes), outputs)

    def macs(self, inputs: Mapping[str, Shape]) -> int:
        """Multiply-accumulates of all convolutions."""
        shapes = self.shapes(inputs)
        return sum(node.op.macs(shapes[node.name]) for node in self.nodes)

    def parameters(self) -> dict[str, Shape]:
        """Trainable tensors: ``node.tensor`` -> shape."""
        return {f"{n.name}.{key}": s for n in self.nodes for key, s in n.op.parameters().items()}

    def buffers(self) -> dict[str, Shape]:
        """Stored but untrained tensors: ``node.tensor`` -> shape."""
        return {f"{n.name}.{key}": s for n in self.nodes for key, s in n.op.buffers().items()}

    @property
    def num_parameters(self) -> int:
        """Trainable values."""
        return sum(map(prod, self.parameters().values()))

    def bytes_moved(self, inputs: Mapping[str, Shape], dtype: str = "float32") -> int:
        """Bytes that cross memory when the whole graph runs as one kernel: inputs, weights, outputs, once.

        Args:
            dtype: element type of maps and weights.
        """
        shapes = self.shapes(inputs)
        values = (*self.inputs, *self.outputs)
        traffic = sum(prod(shapes[name]) * element_bytes(self.dtype(name), dtype) for name in values)
        return traffic + self.num_parameters * BYTES_PER_ELEMENT[dtype]


@dataclass
class GraphBuilder:
    """Grows a graph node by node; ``add`` and ``embed`` return the name of the value they made."""

    inputs: tuple[str, ...] = ("x",)
    nodes: list[Node] = field(default_factory=list)

    def add(self, name: str, op: Op, *inputs: str, size_of: str | None = None, size_over: int = 1) -> str:
        self.nodes.append(Node(name, op, inputs, size_of, size_over))
        return name

    def conv_bn(self, name: str, conv: Conv2d, x: str) -> str:
        """Convolution without bias and batch normalisation: nodes ``name.conv`` and ``name.bn``."""
        return self.add(f"{name}.bn", BatchNorm2d(conv.out_channels), self.add(f"{name}.conv", conv, x))

    def embed(self, prefix: str, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """Copy a graph in, its names prefixed, its inputs replaced; returns the names of its outputs."""
        names = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            names[node.name] = f"{prefix}.{node.name}" if prefix else node.name
            self.nodes.append(
                replace(
                    node,
                    name=names[node.name],
                    inputs=tuple(names[i] for i in node.inputs),
                    size_of=names[node.size_of] if node.size_of else None,
                )
            )
        return tuple(names[name] for name in graph.outputs)

    def build(self, *outputs: str) -> Graph:
        return Graph(self.inputs, tuple(self.nodes), outputs)


def fold_batch_norm(graph: Graph) -> Graph:
    """The graph as it is deployed: each batch normalisation merged into its convolution, which gets a bias.

    The convolution keeps its name. Raises InvalidGraph where a batch normalisation follows anything else.
    """
    made_by = {node.name: node for node in graph.nodes}
    folded: dict[str, str] = {}  # batch norm -> convolution that stands for it
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm2d):
            continue
        conv = made_by.get(node.inputs[0])
        if conv is None or not isinstance(conv.op, Conv2d) or len(graph.consumers[conv.name]) > 1:
            raise InvalidGraph(f"{node.name}: batch normalisation must follow a convolution of its own")
        folded[node.name] = conv.name

    def new(name: str) -> str:
        return folded.get(name, name)

    with_bias = set(folded.values())

    def op(node: Node) -> Op:
        if isinstance(node.op, Conv2d) and node.name in with_bias:
            return replace(node.op, bias=True)
        return node.op

    nodes = [
        Node(n.name, op(n), tuple(map(new, n.inputs)), new(n.size_of) if n.size_of else None, n.size_over)
        for n in graph.nodes
        if n.name not in folded
    ]
    return Graph(graph.inputs, tuple(nodes), tuple(map(new, graph.outputs)))


def conv_before(graph: Graph) -> Mapping[str, str]:
    """Batch normalisation -> name of the convolution it is folded into."""
    return {n.name: n.inputs[0] for n in graph.nodes if isinstance(n.op, BatchNorm2d)}


def _pin(node: Node, shape: Shape, same: Mapping[str, str]) -> Node:
    """``same``: names of values that are others as they are."""
    op = node.op.pinned((shape[-2], shape[-1]))
    inputs = tuple(same.get(name, name) for name in node.inputs)
    return node if (op, inputs) == (node.op, node.inputs) else Node(node.name, op, inputs)
