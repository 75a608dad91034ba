"""Mixed operations of a cell computed together: the same numbers as in turn, with less work.

- The maps of all predecessors are one batch; only statistics are taken of each alone.
- What is resized to half is resized once, for all operations of the cell that zoom, whatever their stride.
- Normalisation, ReLU and the sum over operations and predecessors are one step, which keeps nothing but what
  the convolutions made.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from search.supernet.fasterseg.grouped_norm import rectified, weighted_sum
from search.supernet.fasterseg.narrow import narrowed
from search.supernet.fasterseg.slimmable import MixedOperation, SlimConv, SlimOperation, resized


class CellMaps:
    """What comes into a cell, each map times how probable that is.

    Args:
        maps: of the predecessors, all of one shape.
        shares: (predecessors,).
    """

    def __init__(self, maps: Sequence[Tensor], shares: Tensor) -> None:
        self.whole = torch.cat(list(maps)) if len(maps) > 1 else maps[0]
        self.whole = self.whole.contiguous(memory_format=torch.channels_last)
        self.shares = shares

    @cached_property
    def half(self) -> Tensor:
        """Resized to half the sides, rounded down."""
        height, width = self.whole.shape[2:]
        return resized(self.whole, (height // 2, width // 2))

    @cached_property
    def phases(self) -> tuple[Tensor, Tensor]:
        """Pixels of even rows and columns, and of odd ones."""
        even, odd = self.whole[:, :, ::2, ::2], self.whole[:, :, 1::2, 1::2]
        return tuple(part.contiguous(memory_format=torch.channels_last) for part in (even, odd))  # type: ignore[return-value]


def fused_mix(mixed: MixedOperation, maps: CellMaps, chances: Tensor, out_channels: int) -> Tensor:
    """Sum over operations and predecessors, in training mode.

    Args:
        chances: (operations,).

    Returns:
        (N, out_channels, H or H / 2, W or W / 2), channels_last.
    """
    operations = list(mixed)
    values = [_first(operation, maps, out_channels) for operation in operations]
    twice = [i for i, operation in enumerate(operations) if operation.second is not None]
    norms = [operation.norm.of(out_channels) for operation in operations]
    if twice:
        between = rectified([values[i] for i in twice], [norms[i] for i in twice], len(maps.shares))
        for i, value in zip(twice, between, strict=True):
            second = operations[i].second
            assert second is not None
            values[i] = _conv(second, value, out_channels)
            norms[i] = operations[i].last_norm.of(out_channels)
    height, width = maps.whole.shape[2:]
    size = (height // 2, width // 2) if mixed.down else (height, width)
    return weighted_sum(values, norms, chances[:, None] * maps.shares, size)


def _first(operation: SlimOperation, maps: CellMaps, out_channels: int) -> Tensor:
    """Behind the first convolution."""
    if operation.skips and not operation.down:
        return _pointwise(operation.first, maps.whole, out_channels)
    if operation.skips:
        halves = (operation.even, operation.odd)
        parts = [_pointwise(conv, x, out_channels // 2) for conv, x in zip(halves, maps.phases, strict=True)]
        return torch.cat(parts, 1)
    return _conv(operation.first, maps.half if operation.zooms else maps.whole, out_channels)


def _conv(conv: SlimConv, x: Tensor, out_channels: int) -> Tensor:
    weight = narrowed(conv.weight, out_channels, x.shape[1])
    return functional.conv2d(x, weight, stride=conv.stride, padding=conv.padding)


def _pointwise(conv: SlimConv, x: Tensor, out_channels: int) -> Tensor:
    """A 1x1 convolution of the pixels that its stride leaves."""
    return functional.conv2d(x, narrowed(conv.weight, out_channels, x.shape[1]))
