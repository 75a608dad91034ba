"""What is known of a node's results before a network runs: shapes, and values where they may be sizes.

ONNX's own shape inference is asked node by node, with the constants found so far. Values are computed of
small constants alone, by operations whose time and memory follow from the sizes of their inputs and results:
no file can make this machine work long, whatever it says.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from cost_models.errors import InvalidGraph
from cost_models.ir.ops import Shape
from cost_models.onnx_io.model_file import SIZES_UP_TO, attributes

LARGEST_CONSTANT = 2**30  # elements of what is made of constants, 4 GiB in float32
LARGEST = 2**32  # elements of a value, 16 GiB in float32: no device has room for more

Array = npt.NDArray[Any]
Values = Mapping[str, Array]

# Computed where all inputs are known: none takes longer than its inputs and results are large
_FOLDED_WORDS = """
Abs Add And ArgMax ArgMin BitShift Cast CastLike Ceil Clip Compress Concat Constant
ConstantOfShape CumSum Div Equal Exp Expand Flatten Floor Gather GatherElements GatherND
Greater GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Log Max Min Mod Mul Neg
NonZero Not OneHot Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum Reshape Round ScatterElements ScatterND Shape Sign Size Slice Split Sqrt Squeeze
Sub Sum Tile TopK Transpose Trilu Unique Unsqueeze Where Xor
"""
_FOLDED = frozenset(_FOLDED_WORDS.split())
# Results as large as their inputs, times the rank at most; inference cannot say how large
_NO_LARGER = ("Compress", "NonZero", "Unique")


class TooLarge(InvalidGraph):
    """A value that no device has room for, whether anything reads it or not."""


def inferred(
    node: NodeProto,
    opset: int,
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, int],
    constants: Values,
) -> dict[str, tuple[Shape, int]]:
    """Shapes and types of a node's results, as far as they are known.

    Raises:
        TooLarge: a result of more than 2**32 elements.
        Exception: of many types, from ONNX's C++, where its inputs do not fit.
    """
    read = [key for key in node.input if key]
    types = {key: helper.make_tensor_type_proto(dtypes[key], shapes[key]) for key in read}
    data = {key: numpy_helper.from_array(constants[key], key) for key in read if key in constants}
    schema, opsets = onnx.defs.get_schema(node.op_type, opset), [helper.make_opsetid("", opset)]
    made = onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=opsets)
    found = {key: (dims, kind.tensor_type.elem_type) for key, kind in made.items() if (dims := _dims(kind))}
    found |= {key: ((), kind.tensor_type.elem_type) for key, kind in made.items() if _dims(kind) == ()}
    if node.output[0] not in found and node.op_type in _RULES:
        shape = _RULES[node.op_type](node, shapes, constants)
        if shape is not None:
            found[node.output[0]] = shape, dtypes[read[0]]
    for key, (shape, _) in found.items():
        if math.prod(shape) > LARGEST:
            raise TooLarge(f"{key} has {math.prod(shape):,} elements; allowed are {LARGEST:,}")
    return found


def _dims(kind: TypeProto) -> Shape | None:
    """Sides of a tensor; None where one is not known. What is no size at all does not fit."""
    tensor = kind.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(max(int(dim.dim_value), 0) for dim in tensor.shape.dim)


def computed(
    node: NodeProto, opset: int, made: Mapping[str, tuple[Shape, int]], constants: Values
) -> dict[str, Array] | None:
    """Values of a node's results; None where they may be large, or their operation is none of sizes.

    Args:
        made: what ``inferred`` gave.
    """
    read = [key for key in node.input if key]
    wanted = [key for key in node.output if key]
    if node.op_type not in _FOLDED or any(key not in constants for key in read):
        return None
    bounded = all(key in made and math.prod(made[key][0]) <= SIZES_UP_TO for key in wanted)
    if not bounded and node.op_type not in _NO_LARGER:
        return None
    return _by_reference(node, opset, read, wanted, constants)


def _by_reference(
    node: NodeProto, opset: int, read: Sequence[str], wanted: Sequence[str], constants: Values
) -> dict[str, Array]:
    """Results of a node by ONNX's reference, which heeds the opset of models alone."""
    inputs, outputs = (
        [helper.make_empty_tensor_value_info(key) for key in keys] for keys in (dict.fromkeys(read), wanted)
    )
    graph = helper.make_graph([node], "step", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    values = ReferenceEvaluator(model).run(None, {key: constants[key] for key in read})
    return {key: np.asarray(value) for key, value in zip(wanted, values, strict=True)}


def _unpooled(node: NodeProto, shapes: Mapping[str, Shape], constants: Values) -> Shape | None:
    """Of ``MaxUnpool``: the size that it is told, or the one that the window gives."""
    if len(node.input) > 2 and node.input[2]:
        given = constants.get(node.input[2])
        return None if given is None else tuple(int(side) for side in given)
    batch, channels, *sides = shapes[node.input[0]]
    given_of = attributes(node)
    kernel, ones = given_of["kernel_shape"], [1] * len(sides)
    strides, pads = given_of.get("strides", ones), given_of.get("pads", [0] * 2 * len(sides))
    ends = zip(pads[: len(sides)], pads[len(sides) :], strict=True)
    sizes = zip(sides, strides, kernel, ends, strict=True)
    return batch, channels, *(max((n - 1) * s + k - sum(cut), 0) for n, s, k, cut in sizes)


def _compressed(node: NodeProto, shapes: Mapping[str, Shape], constants: Values) -> Shape | None:
    """Of ``Compress``: as many as its condition takes."""
    condition, axis = constants.get(node.input[1]), attributes(node).get("axis")
    if condition is None:
        return None
    taken, shape = int(np.count_nonzero(condition)), list(shapes[node.input[0]])
    if axis is None:
        return (taken,)
    shape[axis] = taken
    return tuple(shape)


def _as_first(node: NodeProto, shapes: Mapping[str, Shape], _constants: Values) -> Shape | None:
    return shapes[node.input[0]]


# Of operations that ONNX's inference says nothing of
_RULES: Mapping[str, Callable[[NodeProto, Mapping[str, Shape], Values], Shape | None]] = {
    "GroupNormalization": _as_first,
    "MeanVarianceNormalization": _as_first,
    "MaxUnpool": _unpooled,
    "Compress": _compressed,
}
