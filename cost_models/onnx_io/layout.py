"""Where the channels of an image stand: by what a network does with it first. No PyTorch, no TVM."""

from collections import defaultdict

from onnx import GraphProto, NodeProto, helper

_TO_THE_FRONT = [0, 3, 1, 2]
_ELEMENTWISE = ("Cast", "Identity", "Sub", "Add", "Mul", "Div", "Clip", "Neg")  # as normalisation is


def frames(graph: GraphProto) -> frozenset[str]:
    """Names of inputs whose channels are last: the network moves them to the front before all other work."""
    readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for key in node.input:
            readers[key].append(node)
    return frozenset(value.name for value in graph.input if _are_moved(value.name, readers))


def _are_moved(image: str, readers: defaultdict[str, list[NodeProto]]) -> bool:
    waiting, seen = [image], {image}
    while waiting:
        for node in readers.get(waiting.pop(), ()):
            if node.op_type == "Transpose" and _permutation(node) == _TO_THE_FRONT:
                return True
            if node.op_type in _ELEMENTWISE:
                waiting += set(node.output) - seen
                seen.update(node.output)
    return False


def _permutation(node: NodeProto) -> list[int]:
    return next((list(helper.get_attribute_value(a)) for a in node.attribute if a.name == "perm"), [])
