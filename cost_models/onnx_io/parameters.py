"""Inputs of an ONNX graph that are its weights, as ``export_params=False`` and data sets write them."""

from collections.abc import Mapping

from onnx import GraphProto, NodeProto, ValueInfoProto

# Operation -> inputs that are weights wherever they come from
_PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
}
_FLAT = ("Add", "Div", "Mul", "Sub")  # an input of theirs that is a vector is a bias or a scale
_PASSING = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def parameters_among(graph: GraphProto) -> set[str]:
    """Names of inputs of fixed shape that nodes read as weights and as nothing else."""
    shapes = {value.name: _sides(value) for value in graph.input}
    weights: set[str] = set()
    others = {value.name for value in graph.output}
    for node in reversed(graph.node):
        for place, key in enumerate(node.input):
            (weights if _is_weight(node, place, shapes.get(key), weights) else others).add(key)
    return {key for key in weights - others if shapes.get(key)}


def _is_weight(node: NodeProto, place: int, sides: tuple[int, ...] | None, weights: set[str]) -> bool:
    if node.op_type in _PASSING:
        return place == 0 and node.output[0] in weights
    if node.op_type == "MatMul":
        return place == 1 and sides is not None and len(sides) == 2
    if node.op_type in _FLAT:
        return sides is not None and len(sides) == 1
    return place in _PARAMETERS.get(node.op_type, ())


def _sides(value: ValueInfoProto) -> tuple[int, ...] | None:
    """Of an input; None where one is open."""
    sides = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return sides if sides and min(sides) > 0 else None
