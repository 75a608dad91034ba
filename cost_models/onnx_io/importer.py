"""ONNX -> Graph, for counting and costing networks from elsewhere. No PyTorch, no TVM.

What our operations can say exactly becomes these, so that its kernels are those of the tables; the rest
becomes ``Foreign``. Weights are left behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import NodeProto

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, GraphBuilder, Node
from cost_models.ir.op import Op, Shape, as_map
from cost_models.ir.ops import BatchNorm2d, Conv2d
from cost_models.onnx_io.foreign import foreign
from cost_models.onnx_io.ops import EXACT, Exact
from cost_models.onnx_io.reader import Steps, first_side, load, steps


@dataclass(frozen=True)
class Imported:
    """A network at fixed sizes.

    Attributes:
        graph: its nodes have the names of the ONNX nodes, as in ``up1.conv``.
        inputs: shape of every input that it reads.
        frames: those among them whose channels are last, by what is done with them.
    """

    graph: Graph
    inputs: dict[str, Shape]
    frames: frozenset[str] = frozenset()

    @property
    def size(self) -> Shape:
        """Height and width of its first image; empty where it reads none."""
        for key, shape in self.inputs.items():
            if len(shape) == 4:
                first = first_side(shape, is_frame=key in self.frames)
                return shape[first : first + 2]
        return ()


def read_onnx(path: Path, size: tuple[int, int] | None = None) -> Imported:
    """The network in a file.

    Args:
        size: height and width of its images; needed where the file leaves them open, else those of the file
            or None. An open batch is 1.

    Raises:
        InvalidGraph: not a network that latencies can be told for, with the reason (``onnx_reading.load`` and
            ``steps`` list them).
    """
    return from_onnx(load(path), size, name=str(path))


def from_onnx(model: onnx.ModelProto, size: tuple[int, int] | None = None, *, name: str) -> Imported:
    """``read_onnx`` of a checked model; ``name`` is for messages."""
    return _Importer(steps(model, size, name), name).run()


class _Importer:
    """Goes through the steps in order; what they leave unused of each other falls away in the end."""

    def __init__(self, found: Steps, name: str) -> None:
        self.found, self.name = found, name
        self.net = GraphBuilder(found.inputs)
        self.made: dict[str, Node] = {}  # ONNX's name of a value -> the node that makes it
        self.value = {key: key for key in found.inputs}  # ONNX's name of a value -> ours
        self.shapes = {key: as_map(found.shapes[key]) for key in found.inputs}  # by our name

    def run(self) -> Imported:
        for node in self.found.nodes:
            self._take(node)
        outputs = [self.value[key] for key in self.found.outputs if key in self.value]
        graph = _without_unused(self.net.build(*dict.fromkeys(outputs)))
        if not graph.nodes:
            raise InvalidGraph(f"{self.name}: its result does not depend on its input")
        return Imported(graph, {key: self.shapes[key] for key in graph.inputs}, self.found.frames)

    def _take(self, node: NodeProto) -> None:
        exact = EXACT[node.op_type](self.found, node) if node.op_type in EXACT else None
        if exact is not None and self._fits(exact, node):
            self._keep(node, exact)
            return
        for index, key in enumerate(node.output):
            if key:
                op = foreign(self.found, node, index, as_map(self.found.shapes[key]))
                inputs = [self.value[name] for name in node.input if name in self.value]
                self._add(key, node, op, list(dict.fromkeys(inputs)))

    def _fits(self, exact: Exact, node: NodeProto) -> bool:
        """Whether our operation makes of our values what ONNX's makes of its own."""
        if any(key not in self.value for key in exact.inputs):  # a constant
            return False
        inputs = [self.shapes[self.value[key]] for key in exact.inputs]
        if exact.op is None:
            return inputs[0] == as_map(self.found.shapes[node.output[0]])
        if isinstance(exact.op, BatchNorm2d) and not self._follows_own_convolution(exact.inputs[0]):
            return False
        if exact.op.arity not in (None, len(inputs)):
            return False
        try:
            return exact.op.output_shape(inputs, None) == as_map(self.found.shapes[node.output[0]])
        except InvalidGraph:
            return False

    def _follows_own_convolution(self, key: str) -> bool:
        maker = self.made.get(key)
        return maker is not None and isinstance(maker.op, Conv2d) and self.found.readers[key] == 1

    def _keep(self, node: NodeProto, exact: Exact) -> None:
        inputs = [self.value[key] for key in exact.inputs]
        if exact.op is None:
            self.value[node.output[0]] = inputs[0]
        else:
            self._add(node.output[0], node, exact.op, inputs)

    def _add(self, key: str, node: NodeProto, op: Op, inputs: Sequence[str]) -> None:
        name = self._free_name(node, key)
        self.net.add(name, op, *inputs)
        self.made[key] = self.net.nodes[-1]
        self.value[key] = name
        self.shapes[name] = as_map(self.found.shapes[key])

    def _free_name(self, node: NodeProto, key: str) -> str:
        """The node's name as people know it: exporters write ``/up/up.1/ConvTranspose`` for ``up.1``."""
        given = [part for part in node.name.split("/") if part]
        parts = [a for a, b in zip(given, [*given, ""][1:], strict=True) if not b.startswith(f"{a}.")]
        short = parts[:-1] if len(parts) > 1 and parts[-1] == node.op_type else parts
        choices = [".".join(short), ".".join(parts), key]
        choices += [f"{key}.{count}" for count in range(len(self.made) + len(self.found.inputs) + 1)]
        return next(c for c in choices if c and c not in self.shapes)


def _without_unused(graph: Graph) -> Graph:
    """The graph without nodes and inputs that no output depends on."""
    used, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if node.name in used:
            used.update(node.inputs)
            kept.append(node)
    return Graph(tuple(i for i in graph.inputs if i in used), tuple(reversed(kept)), graph.outputs)
