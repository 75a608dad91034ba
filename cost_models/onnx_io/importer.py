"""ONNX -> Graph, for counting and costing networks from elsewhere. No PyTorch, no TVM.

What our operations can say exactly becomes these, so that its kernels are those of the tables; the rest
becomes ``Foreign``. Weights are left behind.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, GraphBuilder, Node
from cost_models.ir.op import Op, Shape, as_map
from cost_models.ir.ops import BatchNorm2d, Conv2d
from cost_models.onnx_io.digest import digest_of
from cost_models.onnx_io.foreign import foreign
from cost_models.onnx_io.model_file import load, without_weights
from cost_models.onnx_io.ops import EXACT, Exact
from cost_models.onnx_io.reader import Steps, first_side, steps
from cost_models.onnx_io.transposed import Transposed, transposed
from cost_models.onnx_io.whole_model import with_inputs
from targets.support.text import brief

_CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv")
DTYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}


@dataclass(frozen=True)
class Imported:
    """A network at fixed sizes.

    Attributes:
        graph: its nodes have the names of the ONNX nodes, as in ``up1.conv``.
        inputs: shape of every input that it reads.
        frames: those among them whose channels are last, by what is done with them.
        dtype: element type of most of its values: ``float32``, ``float16`` or what the file has.
        notes: what is unusual about the file, a phrase each.
        digest: equal for networks that compile to the same kernels, see ``digest_of``.
    """

    graph: Graph
    inputs: dict[str, Shape]
    frames: frozenset[str] = frozenset()
    dtype: str = "float32"
    notes: tuple[str, ...] = ()
    digest: str = ""

    @property
    def size(self) -> Shape:
        """Height and width of its first image; empty where it reads none."""
        for key, shape in self.inputs.items():
            if len(shape) == 4:
                first = first_side(shape, is_frame=key in self.frames)
                return shape[first : first + 2]
        return ()


def read_onnx(
    path: Path, size: tuple[int, int] | None = None, shapes: Mapping[str, Shape] | None = None
) -> Imported:
    """The network in a file.

    Args:
        size: height and width of its images; needed where the file leaves them open, else those of the file
            or None. An open batch is 1.
        shapes: of inputs by name, where it leaves more open.

    Raises:
        InvalidGraph: not a network that latencies can be told for, with the reason (``model_file.load`` and
            ``reader.steps`` list them).
    """
    found = steps(with_inputs(load(path), shapes or {}, str(path)), size, str(path))
    if not any(node.op_type in _CONVOLUTIONS for node in found.nodes):
        raise InvalidGraph(f"{path}: has no convolution; latencies are known for networks of convolutions")
    return _Importer(found, str(path)).run()


def from_onnx(model: onnx.ModelProto, size: tuple[int, int] | None = None, *, name: str) -> Imported:
    """``read_onnx`` of a checked model; ``name`` is for messages."""
    return _Importer(steps(without_weights(model, name), size, name), name).run()


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
            try:
                self._take(node)
            except InvalidGraph as error:
                raise InvalidGraph(f"{self.name}: {error}") from None
            except Exception as error:  # of many types, where attributes make no sense
                what = f"{node.op_type} {node.name or node.output[0]}"
                raise InvalidGraph(f"{self.name}: {what} makes no sense: {brief(error)}") from error
        outputs = [self.value[key] for key in self.found.outputs if key in self.value]
        graph = _without_unused(self.net.build(*dict.fromkeys(outputs)))
        if not graph.nodes:
            raise InvalidGraph(f"{self.name}: its result does not depend on its input")
        inputs = {key: self.shapes[key] for key in graph.inputs}
        found = self.found
        return Imported(graph, inputs, found.frames, self._dtype(), found.notes, digest_of(found))

    def _dtype(self) -> str:
        """The floating-point type of most elements that are made."""
        counts: Counter[int] = Counter()
        for node in self.found.nodes:
            for key in node.output:
                if self.found.dtypes.get(key) in DTYPES:
                    counts[self.found.dtypes[key]] += math.prod(self.found.shapes[key])
        return DTYPES[counts.most_common(1)[0][0]] if counts else "float32"

    def _take(self, node: NodeProto) -> None:
        exact = EXACT[node.op_type](self.found, node) if node.op_type in EXACT else None
        if exact is not None and self._fits(exact, node):
            self._keep(node, exact)
            return
        if node.op_type == "ConvTranspose" and (parts := transposed(self.found, node)) is not None:
            self._take_transposed(node, parts)
            return
        for index, key in enumerate(node.output):
            if key in self.found.shapes:  # of others nothing is read
                op = foreign(self.found, node, index, as_map(self.found.shapes[key]))
                inputs = [self.value[name] for name in node.input if name in self.value]
                self._add(key, node, op, list(dict.fromkeys(inputs)))

    def _take_transposed(self, node: NodeProto, parts: Transposed) -> None:
        key, inputs = node.output[0], [self.value[name] for name in node.input if name in self.value]
        if parts.shuffle is None:
            self._add(key, node, parts.conv, inputs)
            return
        name = self._free_name(node, key)
        names = (f"{name}.conv", *(f"{name}.conv{count}" for count in range(len(self.shapes))))
        conv = next(other for other in names if other not in self.shapes)
        self.net.add(conv, parts.conv, *inputs)
        self.shapes[conv] = parts.conv_shape
        self._add(key, node, parts.shuffle, [conv])

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
        except (InvalidGraph, ValueError):  # ours take maps
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
        others = (f"{key}.{count}" for count in itertools.count())
        choices = itertools.chain((".".join(short), ".".join(parts), key), others)
        return next(c for c in choices if c and c not in self.shapes)


def _without_unused(graph: Graph) -> Graph:
    """The graph without nodes and inputs that no output depends on."""
    used, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if node.name in used:
            used.update(node.inputs)
            kept.append(node)
    return Graph(tuple(i for i in graph.inputs if i in used), tuple(reversed(kept)), graph.outputs)
