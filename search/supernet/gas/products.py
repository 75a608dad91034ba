"""Products of maps with small matrices, a group of channels a node; and the moments that normalise them.

Groups are columns of one matrix and stay where they are: nothing is copied, forward or backward.
"""

from typing import Any

import torch
from torch import Tensor


def moments(rows: Tensor, groups: int, inner: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (groups * inner, C) and biased covariance (groups * inner, C, C) of blocks of C channels of rows
    (pixels, groups * inner * C).

    Never narrower than float32. Blocks of one group are multiplied with each other too: fewer, larger
    products are faster.

    Returns:
        The rows first, to be read by ``mixed`` and by nothing else.
    """
    same, mean, products = _Moments.apply(rows, groups)
    mean = mean.view(groups * inner, -1)
    block = mean.shape[1]
    apart = products.view(groups, inner, block, inner, block).diagonal(dim1=1, dim2=3)
    covariance = apart.permute(0, 3, 1, 2).flatten(0, 1) - mean[:, :, None] * mean[:, None, :]
    return same, mean, covariance


def mixed(total: Tensor, rows: Tensor, matrices: Tensor) -> Tensor:
    """``total`` (pixels, G * C), to which group by group rows (pixels, G * R) times matrices (G, R, C) are
    added in place."""
    found: Tensor = _Mixed.apply(total, rows, matrices)
    return found


def _blocks(rows: Tensor, count: int) -> Tensor:
    """(pixels, count * C) -> (count, pixels, C), the same memory."""
    return rows.view(len(rows), count, -1).transpose(0, 1)


class _Moments(torch.autograd.Function):
    """Means of values, and of products of two of a group."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(rows)
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        blocks = _blocks(wide, groups)
        return rows.view_as(rows), wide.mean(0), blocks.mT @ blocks / len(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        gradient, to_mean, to_products = (own.to(rows.dtype) for own in gradients)
        both = (to_products + to_products.mT) / len(rows)
        made = gradient + to_mean / len(rows)
        _blocks(made, len(both)).baddbmm_(_blocks(rows, len(both)), both)
        return made, None


class _Mixed(torch.autograd.Function):
    """Sums of products."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, rows: Tensor, matrices: Tensor) -> Tensor:
        ctx.mark_dirty(total)
        ctx.save_for_backward(rows, matrices)
        _blocks(total, len(matrices)).baddbmm_(_blocks(rows, len(matrices)), matrices)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        rows, matrices = ctx.saved_tensors
        count = len(matrices)
        parts, to_rows = _blocks(gradient, count), torch.empty_like(rows)
        torch.bmm(parts, matrices.mT, out=_blocks(to_rows, count))
        return gradient, to_rows, _blocks(rows, count).mT @ parts
