"""ONNX operations that ours say exactly: a function each, which answers None where ours do not.

Whether shapes come out the same is checked by the caller.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from cost_models.ir.ops import (
    Activation,
    ActivationKind,
    Add,
    ArgMax,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    Expand,
    GlobalAvgPool,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Pad,
    Plane,
    Resize,
    ShiftByOne,
    Standardize,
    ToByte,
)
from cost_models.onnx_io.folding import Array
from cost_models.onnx_io.foreign import activation
from cost_models.onnx_io.model_file import attributes
from cost_models.onnx_io.peaks import Found, peak_points, picked, place_of_max, row_max
from cost_models.onnx_io.reader import Steps

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_DIGITS = 6  # what float32 keeps of a number that people wrote


@dataclass(frozen=True)
class Exact:
    """What a node is in our words: an operation on these values of ONNX, or their first unchanged (None)."""

    op: Op | None
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """What a convolution or a pooling looks at, each side on its own."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]  # padding, pixels
    after: tuple[int, ...]

    @property
    def is_square(self) -> bool:
        """Whether one number says each property."""
        sides = (self.kernel, self.strides, self.dilations, self.before + self.after)
        return len(self.kernel) == 2 and all(len(set(values)) == 1 for values in sides)


def window(node: NodeProto, kernel: Sequence[int], map_size: Sequence[int]) -> Window:
    """Of a node that looks at ``kernel`` pixels of a map."""
    given, ones = attributes(node), [1] * len(kernel)
    strides, dilations = given.get("strides", ones), given.get("dilations", ones)
    pads = given.get("pads", [0] * 2 * len(kernel))
    before, after = pads[: len(kernel)], pads[len(kernel) :]
    if (auto := given.get("auto_pad", "NOTSET")) in ("SAME_UPPER", "SAME_LOWER"):
        sides = zip(map_size, kernel, strides, dilations, strict=True)
        total = [max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sides]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        before, after = (less, more) if auto == "SAME_UPPER" else (more, less)
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(before), tuple(after))


def _conv(found: Steps, node: NodeProto) -> Exact | None:
    outputs, group_inputs, *kernel = found.shapes[node.input[1]]
    _, inputs, *map_size = found.shapes[node.input[0]]
    seen = window(node, kernel, map_size)
    groups = attributes(node).get("group", 1)
    if not seen.is_square or not found.is_known(node.input[1]) or group_inputs * groups != inputs:
        return None
    bias = len(node.input) > 2 and bool(node.input[2])
    sides = (seen.kernel[0], seen.strides[0], seen.before[0], seen.dilations[0])
    return Exact(Conv2d(inputs, outputs, *sides, groups, bias), (node.input[0],))


def _batch_norm(found: Steps, node: NodeProto) -> Exact | None:
    epsilon = attributes(node).get("epsilon", 1e-5)
    return Exact(BatchNorm2d(found.shapes[node.input[1]][0], epsilon), (node.input[0],))


def _activation(kind: ActivationKind) -> Callable[[Steps, NodeProto], Exact | None]:
    return lambda found, node: Exact(Activation(kind), (node.input[0],))


def _clip(found: Steps, node: NodeProto) -> Exact | None:
    ends = [found.setting(node, name, place) for place, name in ((1, "min"), (2, "max"))]
    return Exact(Activation("relu6"), (node.input[0],)) if ends == [[0], [6]] else None


def _hard_sigmoid(found: Steps, node: NodeProto) -> Exact | None:
    given = attributes(node)
    ours = math.isclose(given.get("alpha", 0.2), 1 / 6, rel_tol=1e-3) and given.get("beta", 0.5) == 0.5
    return Exact(Activation("hsigmoid"), (node.input[0],)) if ours else None


def _add(found: Steps, node: NodeProto) -> Exact | None:
    return None if _has_constant(found, node) else Exact(Add(), tuple(node.input))


def _mul(found: Steps, node: NodeProto) -> Exact | None:
    """Also a frame's normalisation, and the products that exporters write for an activation."""
    first, second = node.input
    if _has_constant(found, node):
        return _normalize(found, first, second) or _standardize(found, first, second)
    for x, gate in ((first, second), (second, first)):
        maker = found.made_by(gate, "HardSigmoid")
        if maker is not None and maker.input[0] == x and _hard_sigmoid(found, maker):
            return Exact(Activation("hswish"), (x,))
    if (function := activation(found, node)) is not None:
        return Exact(function[0], (function[1],))
    sizes = [math.prod(found.shapes[key]) for key in node.input]
    return Exact(Mul(), (first, second) if sizes[0] >= sizes[1] else (second, first))


def _has_constant(found: Steps, node: NodeProto) -> bool:
    return any(found.is_known(key) for key in node.input)


def _normalize(found: Steps, key: str, scale: str) -> Exact | None:
    """Uint8 (N, H, W, 3), its channels moved to the front, less a mean, times a scale: as ours is written."""
    minus = found.made_by(key, "Sub")
    cast = found.made_by(minus.input[0], "Cast") if minus is not None else None
    moved = found.made_by(cast.input[0], "Transpose") if cast is not None else None
    if minus is None or moved is None or found.dtypes[moved.input[0]] != TensorProto.UINT8:
        return None
    factors, means = (_of_channels(found.constants.get(name)) for name in (scale, minus.input[1]))
    if attributes(moved).get("perm") != [0, 3, 1, 2] or factors is None or means is None or not factors.all():
        return None
    mean = tuple(round(value, _DIGITS) for value in (means / 255).tolist())
    std = tuple(round(value, _DIGITS) for value in (1 / (255 * factors)).tolist())
    return Exact(Normalize(mean, std), (moved.input[0],))


def _standardize(found: Steps, key: str, scale: str) -> Exact | None:
    """Channels less a number each, times a number each: as ours is written."""
    minus = found.made_by(key, "Sub")
    if minus is None or len(found.shapes[key]) != 4:
        return None
    constants = [found.constants.get(name) for name in (minus.input[1], scale)]
    channels = found.shapes[key][1]
    if any(values is None or values.shape != (1, channels, 1, 1) for values in constants):
        return None
    return Exact(Standardize(channels), (minus.input[0],))


def _of_channels(values: Array | None) -> Array | None:
    """One number for each of three channels, in double precision; None where it is anything else."""
    if values is None or values.shape not in ((1, 3, 1, 1), (3, 1, 1)):
        return None
    return values.reshape(-1).astype(np.float64)


def _concat(found: Steps, node: NodeProto) -> Exact | None:
    ours = attributes(node)["axis"] in (1, 1 - len(found.shapes[node.output[0]]))
    if ours and not _has_constant(found, node):
        return Exact(Concat(), tuple(node.input))
    return _exact(peak_points(found, node))


# The pooling of LR-ASPP, whose window is cut to smaller maps: tables know those by the whole window.
LRASPP_POOL = AvgPool2d((49, 49), (16, 20))


def _avg_pool(found: Steps, node: NodeProto) -> Exact | None:
    kernel, map_size = attributes(node)["kernel_shape"], found.shapes[node.input[0]][2:]
    seen = window(node, kernel, map_size)
    if len(kernel) != 2 or any((*seen.before, *seen.after)) or set(seen.dilations) != {1}:
        return None
    op = AvgPool2d((kernel[0], kernel[1]), (seen.strides[0], seen.strides[1]))
    if op.window(*map_size) != (op.kernel, op.stride):  # it cuts what ONNX does not
        return None
    cut = LRASPP_POOL.window(*map_size) == (op.kernel, op.stride)
    return Exact(LRASPP_POOL if cut else op, (node.input[0],))


def _max_pool(found: Steps, node: NodeProto) -> Exact | None:
    """Of windows with a middle, padded so that a map keeps its size at stride 1; others stay foreign."""
    kernel = attributes(node)["kernel_shape"]
    seen = window(node, kernel, found.shapes[node.input[0]][2:])
    padded = kernel[0] % 2 == 1 and set(seen.before) == {kernel[0] // 2}
    plain = len(node.output) == 1 and not attributes(node).get("ceil_mode") and set(seen.dilations) == {1}
    if not (seen.is_square and padded and plain):
        return None
    return Exact(MaxPool2d(kernel[0], seen.strides[0], seen.before[0]), (node.input[0],))


def _mean(found: Steps, node: NodeProto) -> Exact | None:
    axes, rank = found.setting(node, "axes", 1) or [], len(found.shapes[node.input[0]])
    ours = rank == 4 and {axis % rank for axis in axes} == {2, 3}
    return Exact(GlobalAvgPool(), (node.input[0],)) if ours else None


def _resize(found: Steps, node: NodeProto) -> Exact | None:
    given, size = attributes(node), found.shapes[node.output[0]][2:]
    how = given.get("coordinate_transformation_mode", "half_pixel")
    if how == "pytorch_half_pixel" and 1 not in size:  # to one pixel it takes the corner
        how = "half_pixel"
    plain = not any(given.get(name) for name in ("antialias", "exclude_outside"))
    if given.get("mode", "nearest") != "linear" or how not in ("half_pixel", "align_corners") or not plain:
        return None
    if len(size) != 2 or found.opset < 11:  # before that it counted pixels from their corners
        return None
    return Exact(Resize(how == "align_corners", (size[0], size[1])), (node.input[0],))


def _expand(found: Steps, node: NodeProto) -> Exact | None:
    size = found.shapes[node.output[0]][2:]
    if found.shapes[node.input[0]] == found.shapes[node.output[0]]:
        return _same(found, node)
    return Exact(Expand((size[0], size[1])), (node.input[0],)) if len(size) == 2 else None


def _slice(found: Steps, node: NodeProto) -> Exact | None:
    if found.shapes[node.input[0]] == found.shapes[node.output[0]]:
        return _same(found, node)
    if _is_corner(found, node):
        height, width = found.shapes[node.output[0]][2:]
        return Exact(Crop((height, width)), (node.input[0],))
    even = all(side % 2 == 0 for side in found.shapes[node.input[0]][2:])
    return Exact(ShiftByOne(), (node.input[0],)) if even and _leaves_first_out(found, node) else None


def _pad(found: Steps, node: NodeProto) -> Exact | None:
    pads = found.setting(node, "pads", 1) or [1]
    if not any(pads):
        return _same(found, node)
    constant = attributes(node).get("mode", "constant") == "constant"
    if any(found.setting(node, "value", 2) or []) or not constant:
        return None
    cut = found.made_by(node.input[0], "Slice")
    if cut is None or not _leaves_first_out(found, cut):
        made = found.shapes[node.output[0]]
        ours = (
            len(made) == 4 and pads[:6] == [0] * 6 and min(pads) >= 0 and not found.setting(node, "axes", 3)
        )
        return Exact(Pad(size=(made[2], made[3])), (node.input[0],)) if ours else None
    odd = [side % 2 for side in found.shapes[cut.input[0]][2:]]
    return Exact(ShiftByOne(), (cut.input[0],)) if pads == [0] * 6 + odd else None


def _is_corner(found: Steps, node: NodeProto) -> bool:
    """Whether a slice is the upper left corner of a map."""
    shape, made = found.shapes[node.input[0]], found.shapes[node.output[0]]
    starts, axes = found.setting(node, "starts", 1), found.setting(node, "axes", 3)
    whole = len(shape) == 4 and made[:2] == shape[:2] and set(found.setting(node, "steps", 4) or [1]) == {1}
    return whole and not any(starts or [1]) and axes in ([2, 3], [-2, -1], [0, 1, 2, 3], None)


def _leaves_first_out(found: Steps, node: NodeProto) -> bool:
    """Whether a slice is a map without its first row and column."""
    shape = found.shapes[node.input[0]]
    starts, axes = found.setting(node, "starts", 1), found.setting(node, "axes", 3)
    made = found.shapes[node.output[0]]
    less_one = len(shape) == 4 and made == (*shape[:2], shape[2] - 1, shape[3] - 1)
    return less_one and starts == [1, 1] and axes in ([2, 3], [-2, -1])


def _argmax(found: Steps, node: NodeProto) -> Exact | None:
    given, rank = attributes(node), len(found.shapes[node.input[0]])
    ours = given.get("axis", 0) % rank == 1 and not given.get("select_last_index")
    if ours and not given.get("keepdims", 1):
        return Exact(ArgMax(), (node.input[0],))
    return _exact(place_of_max(found, node))


def _exact(read: Found) -> Exact | None:
    return Exact(*read) if read is not None else None


def _cast(found: Steps, node: NodeProto) -> Exact | None:
    before, after = (found.dtypes[key] for key in (node.input[0], node.output[0]))
    if before == after or (before in _FLOATS and after in _FLOATS):
        return _same(found, node)  # kernels are those of float32, whatever the type
    ours = before == TensorProto.INT64 and after == TensorProto.UINT8
    return Exact(ToByte(), (node.input[0],)) if ours else None


def _reshape(found: Steps, node: NodeProto) -> Exact | None:
    """A map of one channel that loses it is a plane; else only the shape is another."""
    before, after = (found.shapes[key] for key in (node.input[0], node.output[0]))
    floats = found.dtypes[node.input[0]] in _FLOATS
    if floats and len(before) == 4 and after == (before[0], *before[2:]) and before[1] == 1:
        return Exact(Plane(), (node.input[0],))
    return _same(found, node)


def _same(found: Steps, node: NodeProto) -> Exact | None:
    return Exact(None, (node.input[0],))


EXACT: Mapping[str, Callable[[Steps, NodeProto], Exact | None]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Relu": _activation("relu"),
    "Sigmoid": _activation("sigmoid"),
    "Clip": _clip,
    "HardSwish": _activation("hswish"),
    "HardSigmoid": _hard_sigmoid,
    "Add": _add,
    "Mul": _mul,
    "Concat": _concat,
    "AveragePool": _avg_pool,
    "MaxPool": _max_pool,
    "GlobalAveragePool": lambda found, node: Exact(GlobalAvgPool(), (node.input[0],)),
    "ReduceMean": _mean,
    "Resize": _resize,
    "Expand": _expand,
    "Slice": _slice,
    "Pad": _pad,
    "ArgMax": _argmax,
    "Cast": _cast,
    "ReduceMax": lambda found, node: _exact(row_max(found, node)),
    "ReduceSum": lambda found, node: _exact(picked(found, node)),
    **dict.fromkeys(("Reshape", "Squeeze"), _reshape),
    **dict.fromkeys(("Identity", "Dropout", "Flatten", "Unsqueeze"), _same),
}
