"""ONNX models of a few nodes, as other programs write them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cost_models.ir.ops import Op
from cost_models.onnx_io.importer import Imported, from_onnx

MAP = (1, 8, 16, 32)
node = helper.make_node


def random(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


# Input x, a 3x3 convolution of it, c
CONV = node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], name="first")
WEIGHTS = {"w": random(8, 8, 3, 3)}


def model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Any] = WEIGHTS,
    *,
    shape: Sequence[int | str | None] = MAP,
    opset: int = 18,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """From input ``x`` to output ``y``."""
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    x = helper.make_tensor_value_info("x", dtype, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "net", [x], [y], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)  # a result has a shape


def imported(nodes: Sequence[NodeProto], constants: Mapping[str, Any] = WEIGHTS, **options: Any) -> Imported:
    return from_onnx(model(nodes, constants, **options), name="net.onnx")


def operations(
    nodes: Sequence[NodeProto], constants: Mapping[str, Any] = WEIGHTS, **options: Any
) -> list[Op]:
    """What the nodes become, in order."""
    return [n.op for n in imported(nodes, constants, **options).graph.nodes]
