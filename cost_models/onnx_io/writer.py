"""An ONNX model in the making, and what an operation adds to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import Shape
from cost_models.ir.weights import Weights


@dataclass
class Writer:
    """An ONNX model in the making.

    Attributes:
        shapes: of every value of the graph.
        arrays: weights of the graph, batch normalisation folded, by ``node.tensor``.
        dtype: of what the graph calls float32.
    """

    shapes: Mapping[str, Shape]
    arrays: Weights
    dtype: np.dtype[Any]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def emit(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node, named as what it gives; returns that name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        return output

    def constant(self, name: str, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add values; returns ``name``."""
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def ints(self, node: Node, name: str, *values: int) -> str:
        """Add whole numbers of a node, such as axes; returns their name."""
        return self.constant(f"{node.name}.{name}", values, np.int64)

    def weight(self, name: str) -> str:
        """Add a tensor of the graph in the model's type; returns ``name``."""
        values = self.arrays[name]
        largest, limit = float(np.abs(values).max()), float(np.finfo(self.dtype).max)
        if largest > limit:
            raise InvalidGraph(
                f"{name}: reaches {largest:.3g} with batch normalisation folded in, {self.dtype} ends at "
                f"{limit:g}; use float32 for this network"
            )
        return self.constant(name, values, self.dtype)

    def value_info(self, graph: Graph, name: str) -> onnx.ValueInfoProto:
        own = graph.dtype(name)
        dtype = helper.np_dtype_to_tensor_dtype(self.dtype if own == "float32" else np.dtype(own))
        return helper.make_tensor_value_info(name, dtype, self.shapes[name])


Write = Callable[[Writer, Node], None]
"""Adds what one node of a graph is in ONNX."""
