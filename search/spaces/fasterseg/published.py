"""Rows of the authors' latency table that price the parts of their networks.

Each operation has a key of its own: in the authors' code ``conv_2x_downup`` has that of ``conv_2x``, so that
their search never saw what zooming saves.
"""

from itertools import pairwise

from cost_models.database.published import published_kernel
from cost_models.ir.fusion import Kernel
from search.spaces.fasterseg.grid import SKIP

Size = tuple[int, int]


def cell_row(operation: str, size: Size, in_channels: int, out_channels: int, *, down: bool) -> Kernel:
    """Of a cell that reads a map of that size. A skip that does not go down was timed as the identity."""
    side = 3
    if operation == SKIP:
        side = 1 if down else 0
    return published_kernel(operation, size, in_channels, out_channels, side, 1 + down)


def stem_rows(size: Size, channels: tuple[int, ...]) -> tuple[Kernel, ...]:
    """Of the stem, stage by stage, on an image of that size."""
    rows = [published_kernel("convnorm", size, 3, channels[0], 3, 2)]
    for before, after in pairwise(channels):
        size = (size[0] // 2, size[1] // 2)
        rows.append(published_kernel("conv_2x", size, before, after, 3, 2))
    return tuple(rows)


def merge_rows(coarse: Size, fine: Size, in_channels: int, out_channels: int, tap: int) -> tuple[Kernel, ...]:
    """Of what brings a map to the next finer scale, where a map of ``tap`` channels waits."""
    reduce = published_kernel("convnorm", coarse, in_channels, out_channels, 1)
    return reduce, published_kernel("convnorm", fine, out_channels + tap, out_channels, 3)


def fusion_rows(size: Size, channels: int, outputs: int) -> tuple[Kernel, ...]:
    """Of what joins both branches, of that many channels each, and of the head."""
    fusion = published_kernel("fusion", size, 2 * channels, 2 * channels, 1)
    return fusion, published_kernel("head", size, 2 * channels, outputs, 3)
