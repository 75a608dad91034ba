"""What ONNX operations cost that ours do not say: work, weights, and what TVM fuses them with."""

import math
from collections.abc import Mapping

from onnx import NodeProto, TensorProto

from cost_models.ir.op import Pattern, Shape, as_map
from cost_models.ir.ops import Foreign
from cost_models.onnx_io.reader import Steps
from cost_models.onnx_io.work import WORK, Work

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
# They pass over their map once
_COUNTED = ("GlobalAveragePool", "ReduceMean", "ArgMax", "ArgMin", "MaxUnpool")


def foreign(found: Steps, node: NodeProto, index: int, shape: Shape) -> Foreign:
    """The operation behind output ``index`` of a node; ``shape`` is that output's.

    All the work of a node with several outputs is the first one's.

    Raises:
        InvalidGraph: a convolution whose weights do not fit its input.
    """
    kind = node.op_type
    pattern = _PATTERNS.get(kind, "out_elementwise_fusable")
    work = WORK[kind](found, node) if kind in WORK else Work(kind)
    counted = kind in WORK or kind in _PATTERNS or kind in _COUNTED
    if index:
        return Foreign(work.label, shape, fusion=pattern)
    if pattern == "injective":  # which has no weights: what looks like them are scales
        return Foreign(work.label, shape, fusion=pattern, steps=work.steps)
    given = (key for key in node.input if found.is_known(key) and found.dtypes[key] in _FLOATS)
    weights = sum(math.prod(found.shapes[key]) for key in given if found.shapes[key])
    return Foreign(work.label, shape, work.macs, weights, work.kind, pattern, work.steps, counted)


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
