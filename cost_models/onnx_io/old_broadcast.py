"""Sums and products of old opsets, which say with ``axis`` where the smaller tensor lies within the larger.

ONNX's converter to opset 7 takes any such axis for the last one, and gives other numbers without a word. So
the smaller tensor gets the axes of one pixel that it lacks behind its own, and no ``axis`` is left.
"""

from onnx import AttributeProto, ModelProto, NodeProto, helper, shape_inference

from cost_models.errors import InvalidGraph


def without_axes(proto: ModelProto) -> ModelProto:
    """A model of an opset below 7 in which tensors that are repeated are aligned at their last axes.

    Raises:
        InvalidGraph: how many axes a tensor has is not known.
    """
    if not any(_axis(node) for node in proto.graph.node):
        return proto
    made = ModelProto()
    made.CopyFrom(proto)
    ranks = _ranks(made)
    nodes: list[NodeProto] = []
    for node in made.graph.node:
        if axis := _axis(node):
            larger, smaller = (ranks.get(key) for key in node.input[:2])
            if larger is None or smaller is None:
                raise InvalidGraph(f"{node.op_type} {node.output[0]} repeats what has unknown sizes")
            first = axis.i + (larger if axis.i < 0 else 0)
            behind = larger - first - smaller
            if behind > 0:
                name = f"{node.output[0]}:{node.input[1]}"
                axes = range(smaller, smaller + behind)
                nodes.append(helper.make_node("Unsqueeze", [node.input[1]], [name], axes=axes))
                node.input[1] = name
            node.attribute.remove(axis)
        nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _axis(node: NodeProto) -> AttributeProto | None:
    """Its attribute that says where the second input lies in the first; None where it repeats nothing."""
    given = {attribute.name: attribute for attribute in node.attribute}
    repeats = "broadcast" in given and given["broadcast"].i
    return given.get("axis") if repeats else None


def _ranks(proto: ModelProto) -> dict[str, int]:
    """How many axes each tensor has, as far as that is known."""
    graph = shape_inference.infer_shapes(proto).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    known = {
        v.name: len(v.type.tensor_type.shape.dim) for v in values if v.type.tensor_type.HasField("shape")
    }
    return known | {tensor.name: len(tensor.dims) for tensor in graph.initializer}
