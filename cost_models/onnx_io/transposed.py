"""Transposed convolutions as they run, see ``ir.sub_pixel``: a convolution, and a shuffle of its pixels."""

import math
from dataclasses import dataclass

from onnx import NodeProto

from cost_models.ir.op import Op, Shape
from cost_models.ir.ops import Conv2d, Foreign
from cost_models.ir.sub_pixel import SubPixel, sub_pixel
from cost_models.onnx_io.model_file import attributes
from cost_models.onnx_io.reader import Steps
from cost_models.onnx_io.work import conv_kind


@dataclass(frozen=True, slots=True)
class Transposed:
    """What one runs as.

    Attributes:
        conv: with its bias where nothing comes after it.
        conv_shape: of its result.
        shuffle: None where that is the result.
    """

    conv: Op
    conv_shape: Shape
    shuffle: Foreign | None


def transposed(found: Steps, node: NodeProto) -> Transposed | None:
    """The two parts of a ``ConvTranspose``; None where TVM runs it in its own way, or weights do not fit."""
    inputs, group_outputs, *kernel = found.shapes[node.input[1]]
    batch, channels, *_ = found.shapes[node.input[0]]
    groups, plan = attributes(node).get("group", 1), _plan(found, node)
    if plan is None or inputs != channels or inputs % groups:
        return None
    outputs, has_bias = group_outputs * groups, len(node.input) > 2 and bool(node.input[2])
    shape = (batch, outputs * plan.phases, *plan.conv_size)
    known = found.is_known(node.input[1])
    square = len({*plan.taps}) == len({*plan.before, *plan.after}) == 1
    exact = all(k == t * s for k, t, s in zip(kernel, plan.taps, plan.stride, strict=True))
    conv: Op
    if known and square and exact:
        bias = has_bias and plan.is_plain
        conv = Conv2d(inputs, shape[1], plan.taps[0], padding=plan.before[0], groups=groups, bias=bias)
    else:  # zeros among its weights are multiplied, but are no parameters
        macs = math.prod(shape) * (inputs // groups) * math.prod(plan.taps)
        weights = inputs * group_outputs * math.prod(kernel) if known else 0
        conv = Foreign(node.op_type, shape, macs, weights, conv_kind(inputs, shape[1], groups, plan.taps))
    made = found.shapes[node.output[0]]
    weights = outputs if has_bias else 0
    shuffle = None if plan.is_plain else Foreign(node.op_type, made, weights=weights, fusion="injective")
    return Transposed(conv, shape, shuffle)


def _plan(found: Steps, node: NodeProto) -> SubPixel | None:
    given, (_, _, *map_size) = attributes(node), found.shapes[node.input[0]]
    kernel = found.shapes[node.input[1]][2:]
    ones = [1] * len(kernel)
    stride, more = given.get("strides", ones), given.get("output_padding", [0] * len(kernel))
    cut = given.get("pads", [0] * 2 * len(kernel))
    if (auto := given.get("auto_pad", "NOTSET")) in ("SAME_UPPER", "SAME_LOWER"):
        total = [max(k + m - s, 0) for k, m, s in zip(kernel, more, stride, strict=True)]
        less, rest = [t // 2 for t in total], [t - t // 2 for t in total]
        cut = [*less, *rest] if auto == "SAME_UPPER" else [*rest, *less]
    dilated = any(step != 1 for step in given.get("dilations", ones))
    if len(kernel) != 2 or dilated or min(cut) < 0:
        return None
    plan = sub_pixel(map_size, kernel, stride, cut, more)
    told = found.shapes[node.output[0]][2:]  # a file may ask for another size
    return plan if plan is not None and plan.size == tuple(told) else None
