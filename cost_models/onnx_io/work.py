"""Work of ONNX operations that ours do not say: multiply-accumulates, and what runs beside them on TVM."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from cost_models.errors import InvalidGraph
from cost_models.ir.op import WorkKind
from cost_models.onnx_io.model_file import attributes
from cost_models.onnx_io.reader import Steps

_TAPS = {"linear": 4, "cubic": 16}  # pixels behind each pixel of a resized map


@dataclass(frozen=True)
class Work:
    """Of a node; see ``Foreign``.

    Attributes:
        label: what people call it.
    """

    label: str
    macs: int = 0
    kind: WorkKind = "memory"
    steps: int = 0


def _conv(found: Steps, node: NodeProto) -> Work:
    outputs, group_inputs, *kernel = found.shapes[node.input[1]]
    inputs = found.shapes[node.input[0]][1]
    groups = attributes(node).get("group", 1)
    if group_inputs * groups != inputs:
        raise InvalidGraph(
            f"{node.op_type} {node.name or node.output[0]}: its weights are for {group_inputs * groups} "
            f"channels, its input has {inputs}"
        )
    macs = _made(found, node) * group_inputs * math.prod(kernel)
    label = f"{node.op_type}{'x'.join(map(str, kernel))}"
    return Work(label, macs, conv_kind(inputs, outputs, groups, kernel))


def _conv_transpose(found: Steps, node: NodeProto) -> Work:
    """Of those that ``transposed`` leaves to TVM: it puts zeros between pixels and convolves at the size of
    the result, reading through conditions."""
    inputs, group_outputs, *kernel = found.shapes[node.input[1]]
    groups = attributes(node).get("group", 1)
    macs = math.prod(found.shapes[node.input[0]]) * group_outputs * math.prod(kernel)
    steps = _made(found, node) * (inputs // groups) * math.prod(kernel)
    return Work(node.op_type, macs, conv_kind(inputs, group_outputs * groups, groups, kernel), steps)


def conv_kind(inputs: int, outputs: int, groups: int, kernel: Sequence[int]) -> WorkKind:
    """Class of its work, as ``Kernel.kind`` says it of a convolution."""
    if groups == 1:
        return "pointwise" if set(kernel) == {1} else "dense"
    return "depthwise" if groups == inputs == outputs else "grouped"


def _gemm(found: Steps, node: NodeProto) -> Work:
    summed = found.shapes[node.input[0]][0 if attributes(node).get("transA") else 1]
    return Work(node.op_type, _made(found, node) * summed, "pointwise")


def _matmul(found: Steps, node: NodeProto) -> Work:
    return Work(node.op_type, _made(found, node) * found.shapes[node.input[0]][-1], "pointwise")


def _einsum(found: Steps, node: NodeProto) -> Work:
    """A loop for each letter; each operand but the first is one more product in it."""
    terms = attributes(node)["equation"].replace(" ", "").split("->")[0].split(",")
    sides: dict[str, int] = {}
    for term, key in zip(terms, node.input, strict=True):
        letters, shape = term.replace("...", ""), found.shapes[key]
        start = term.find("...") if "..." in term else len(letters)
        spread = len(shape) - len(letters)
        names = [*letters[:start], *(f"...{spread - index}" for index in range(spread)), *letters[start:]]
        for name, side in zip(names, shape, strict=True):
            sides[name] = max(sides.get(name, 1), side)
    macs = (len(terms) - 1) * math.prod(sides.values())
    return Work(node.op_type, macs, "pointwise" if macs else "memory")


def _attention(found: Steps, node: NodeProto) -> Work:
    """Scores of every query with every key, and sums of values by them."""
    query, key, value = (found.shapes[name] for name in node.input[:3])
    given = attributes(node)
    if len(query) == 3:
        heads, own = given["q_num_heads"], given["kv_num_heads"]
        rows, columns, depth = query[1], key[1], query[2] // heads
        value_depth = value[2] // own
    else:
        heads, rows, depth = query[1:]
        columns, value_depth = key[2], value[3]
    if len(node.input) > 4 and node.input[4]:
        columns += found.shapes[node.input[4]][2]
    return Work(node.op_type, query[0] * heads * rows * columns * (depth + value_depth), "pointwise")


def _pool(found: Steps, node: NodeProto) -> Work:
    return Work(node.op_type, steps=_made(found, node) * math.prod(attributes(node)["kernel_shape"]))


def _resize(found: Steps, node: NodeProto) -> Work:
    taps = _TAPS.get(attributes(node).get("mode", "nearest"), 0)
    return Work(node.op_type, steps=_made(found, node) * taps)


def _made(found: Steps, node: NodeProto) -> int:
    """Elements of a node's first result."""
    return math.prod(found.shapes[node.output[0]])


WORK: Mapping[str, Callable[[Steps, NodeProto], Work]] = {
    "Conv": _conv,
    "DeformConv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "Attention": _attention,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
}
