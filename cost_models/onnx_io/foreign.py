"""What ONNX operations cost that ours do not say: work, weights, and what TVM fuses them with."""

import math
from collections.abc import Callable, Mapping, Sequence

from onnx import NodeProto, TensorProto

from cost_models.errors import InvalidGraph
from cost_models.ir.op import Pattern, Shape, WorkKind, as_map
from cost_models.ir.ops import Foreign
from cost_models.onnx_io.model_file import attributes
from cost_models.onnx_io.reader import Steps

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "PRelu", "Where", "Clip"),
    *(
        "Cast",
        "Relu",
        "LeakyRelu",
        "ThresholdedRelu",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "Mish",
        "Swish",
        "Shrink",
    ),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Tanh", "Erf", "BatchNormalization"),
    *("Abs", "Neg", "Sign", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Sin", "Cos"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "IsNaN", "IsInf"),
)
_INJECTIVE = (
    *("Concat", "Split", "Slice", "Pad", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"),
    *("Tile", "Gather", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample"),
)
_REDUCTIONS = (
    *("GlobalMaxPool", "GlobalLpPool", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1"),
    *("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "TopK", "CumSum"),
)
_PATTERNS: Mapping[str, Pattern] = {
    **dict.fromkeys(_ELEMENTWISE, "elementwise"),
    **dict.fromkeys(_INJECTIVE, "injective"),
    **dict.fromkeys(_REDUCTIONS, "comm_reduce"),
}  # as TVM fuses them; all others take in what is elementwise after them


def foreign(found: Steps, node: NodeProto, index: int, shape: Shape) -> Foreign:
    """The operation behind output ``index`` of a node; ``shape`` is that output's.

    All the work of a node with several outputs is the first one's.

    Raises:
        InvalidGraph: a convolution whose weights do not fit its input.
    """
    kind = node.op_type
    pattern = _PATTERNS.get(kind, "out_elementwise_fusable")
    if index or pattern == "injective":  # which has no weights: what looks like them are scales
        return Foreign(kind, shape, fusion=pattern)
    given = (key for key in node.input if found.is_known(key) and found.dtypes[key] in _FLOATS)
    weights = sum(math.prod(found.shapes[key]) for key in given if found.shapes[key])
    if kind not in _WORK:
        return Foreign(kind, shape, 0, weights, fusion=pattern)
    work, work_kind, label = _WORK[kind](found, node)
    return Foreign(label, shape, work, weights, work_kind, pattern)


def activation(found: Steps, node: NodeProto) -> tuple[Foreign, str] | None:
    """The elementwise function that exporters write as ``x * f(x)`` (SiLU, Mish, GELU), and its input.

    None where the other factor was made otherwise, or is read by others too. A kernel that makes x takes in
    the function whole, since all that reads x is part of it.
    """
    for x, end in (node.input, (node.input[1], node.input[0])):
        names, key = [node.op_type], end
        while (maker := found.makers.get(key)) is not None and found.readers[key] == 1:
            inputs = [name for name in maker.input if name and not found.is_known(name)]
            if len(inputs) != 1 or maker.op_type not in _ELEMENTWISE:
                break
            names, key = [maker.op_type, *names], inputs[0]
            if key == x:
                return Foreign("+".join(names), as_map(found.shapes[x]), fusion="elementwise"), x
    return None


_Work = tuple[int, WorkKind, str]  # multiply-accumulates, their class, and what people call it


def _conv(found: Steps, node: NodeProto) -> _Work:
    outputs, group_inputs, *kernel = found.shapes[node.input[1]]
    inputs = found.shapes[node.input[0]][1]
    groups = attributes(node).get("group", 1)
    if group_inputs * groups != inputs:
        raise InvalidGraph(
            f"{node.op_type} {node.name or node.output[0]}: its weights are for {group_inputs * groups} "
            f"channels, its input has {inputs}"
        )
    work = math.prod(found.shapes[node.output[0]]) * group_inputs * math.prod(kernel)
    label = f"{node.op_type}{'x'.join(map(str, kernel))}"
    return work, _kind(inputs, outputs, groups, kernel), label


def _conv_transpose(found: Steps, node: NodeProto) -> _Work:
    inputs, group_outputs, *kernel = found.shapes[node.input[1]]
    groups = attributes(node).get("group", 1)
    work = math.prod(found.shapes[node.input[0]]) * group_outputs * math.prod(kernel)
    return work, _kind(inputs, group_outputs * groups, groups, kernel), node.op_type


def _kind(inputs: int, outputs: int, groups: int, kernel: Sequence[int]) -> WorkKind:
    """As ``Kernel.kind`` says it of a convolution."""
    if groups == 1:
        return "pointwise" if set(kernel) == {1} else "dense"
    return "depthwise" if groups == inputs == outputs else "grouped"


def _gemm(found: Steps, node: NodeProto) -> _Work:
    summed = found.shapes[node.input[0]][0 if attributes(node).get("transA") else 1]
    return math.prod(found.shapes[node.output[0]]) * summed, "pointwise", node.op_type


def _matmul(found: Steps, node: NodeProto) -> _Work:
    summed = found.shapes[node.input[0]][-1]
    return math.prod(found.shapes[node.output[0]]) * summed, "pointwise", node.op_type


_WORK: Mapping[str, Callable[[Steps, NodeProto], _Work]] = {
    "Conv": _conv,
    "DeformConv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
