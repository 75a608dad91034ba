"""A transposed convolution as a convolution and a shuffle of pixels: without zeros between pixels.

Pixel ``stride * q + a`` of the whole result, before padding is cut off, sums ``x[q - j] * w[a + stride *
j]``: for each of the ``stride`` places ``a`` an ordinary convolution of the small map, with ``ceil(kernel /
stride)`` taps. All of them together are one convolution with ``stride_y * stride_x`` times the channels,
whose result is shuffled into the large map: "Real-Time Single Image and Video Super-Resolution Using an
Efficient Sub-Pixel Convolutional Neural Network", arXiv:1609.05158, section 3.2, and arXiv:1609.07009.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SubPixel:
    """How one is done; pairs are of rows and columns.

    Attributes:
        stride: of the transposed convolution: pixels that are shuffled out of as many channels.
        lead: zeros in front of the kernel.
        taps: of the convolution. Where the stride does not divide the kernel, some weights are zeros.
        before, after: padding of the convolution, whose own stride is 1.
        first: pixels that are cut off at the top and the left of the shuffled map.
        size, conv_size: of the result, and of the convolution's.
    """

    stride: Pair
    lead: Pair
    taps: Pair
    before: Pair
    after: Pair
    first: Pair
    size: Pair
    conv_size: Pair

    @property
    def phases(self) -> int:
        """Channels of the convolution for one of the result."""
        return math.prod(self.stride)

    @property
    def is_plain(self) -> bool:
        """Whether the convolution's result is the result."""
        return self.phases == 1 and self.first == (0, 0)


def sub_pixel(
    map_size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    cut: Sequence[int],
    more: Sequence[int],
) -> SubPixel | None:
    """Of a transposed convolution without dilation; None where padding cuts off all that it makes.

    Args:
        map_size, kernel, stride: rows and columns.
        cut: its padding, as ONNX gives it: top, left, bottom, right. None of them is negative.
        more: rows and columns of its output padding.
    """
    sides = [_side(*values) for values in zip(map_size, kernel, stride, cut[:2], cut[2:], more, strict=True)]
    if any(side is None for side in sides):
        return None
    rows, columns = cast("list[dict[str, int]]", sides)
    return SubPixel(**{name: (rows[name], columns[name]) for name in rows}, stride=(stride[0], stride[1]))


def _side(
    length: int, kernel: int, stride: int, cut: int, cut_after: int, more: int
) -> dict[str, int] | None:
    """One direction: the convolution begins with the first of its results that a pixel is taken from."""
    taps = math.ceil(kernel / stride)
    lead = -cut % stride  # zeros before the kernel, where there is room: then nothing is made to be cut off
    lead = lead if kernel + lead <= taps * stride else 0
    kernel, cut = kernel + lead, cut + lead
    size = stride * (length - 1) + kernel + more - cut - cut_after
    skipped = min(cut // stride, taps - 1)
    after = math.ceil((cut + size) / stride) - length
    before, first = taps - 1 - skipped, cut - skipped * stride
    after = max(after, before) if first else max(after, 0)  # a square one, whose last row is cut off, too
    if size < 1:
        return None
    return {
        "lead": lead,
        "taps": taps,
        "before": before,
        "after": after,
        "first": first,
        "size": size,
        "conv_size": length + before + after - taps + 1,
    }


def sub_pixel_weights(weights: Any, plan: SubPixel, groups: int) -> Any:
    """Weights of the convolution: (channels, outputs / groups, rows, columns) of the transposed one, as numpy
    array, become (outputs * phases, channels / groups, taps, taps)."""
    channels, outputs, *kernel = weights.shape
    (taps_y, taps_x), (stride_y, stride_x) = plan.taps, plan.stride
    sides = zip(plan.lead, plan.taps, plan.stride, kernel, strict=True)
    missing = [(lead, taps * stride - lead - side) for lead, taps, stride, side in sides]
    whole = np.pad(weights, [(0, 0), (0, 0), *missing])
    parts = whole.reshape(groups, channels // groups, outputs, taps_y, stride_y, taps_x, stride_x)
    turned = parts[:, :, :, ::-1, :, ::-1].transpose(0, 2, 4, 6, 1, 3, 5)
    return np.ascontiguousarray(turned).reshape(-1, channels // groups, *plan.taps)
