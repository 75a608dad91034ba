"""Products of maps with small matrices, a group of channels a node; and the moments that normalise them.

Groups are columns of one matrix and stay where they are: nothing is copied, forward or backward.
"""

from typing import Any

import torch
from torch import Tensor


def moments(rows: Tensor, groups: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (B, C) and biased covariance (B, C, C) of blocks of ``block`` channels of rows (pixels, B * C).

    Never narrower than float32. Blocks of one group are multiplied with each other too, in one product: many
    small ones would be slower.

    Returns:
        The rows first, to be read by ``mixed`` and by nothing else.
    """
    same, mean, products = _Moments.apply(rows, groups)
    mean = mean.view(-1, block)
    inner = products.shape[1] // block
    apart = products.view(groups, inner, block, inner, block).diagonal(dim1=1, dim2=3)
    covariance = apart.permute(0, 3, 1, 2).flatten(0, 1) - mean[:, :, None] * mean[:, None, :]
    return same, mean, covariance


def mixed(total: Tensor, rows: Tensor, matrices: Tensor) -> Tensor:
    """``total`` (pixels, G * C) and, group by group, rows (pixels, G * R) times matrices (G, R, C)."""
    found: Tensor = _Mixed.apply(total, rows, matrices)
    return found


class _Moments(torch.autograd.Function):
    """Means of values, and of products of two of a group."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(rows)
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        products = torch.stack([own.T @ own for own in wide.chunk(groups, 1)]) / len(rows)
        return rows.view_as(rows), wide.mean(0), products

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        gradient, to_mean, to_products = (own.to(rows.dtype) for own in gradients)
        both = (to_products + to_products.mT) / len(rows)
        made = gradient + to_mean / len(rows)
        for own, at, product in zip(rows.chunk(len(both), 1), made.chunk(len(both), 1), both, strict=True):
            at.addmm_(own, product)
        return made, None


class _Mixed(torch.autograd.Function):
    """Sums of products."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, rows: Tensor, matrices: Tensor) -> Tensor:
        ctx.save_for_backward(rows, matrices)
        made = total.clone()
        count = len(matrices)
        for own, at, matrix in zip(rows.chunk(count, 1), made.chunk(count, 1), matrices, strict=True):
            at.addmm_(own, matrix)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        rows, matrices = ctx.saved_tensors
        count = len(matrices)
        to_rows, parts = torch.empty_like(rows), gradient.chunk(count, 1)
        for own, at, matrix in zip(parts, to_rows.chunk(count, 1), matrices, strict=True):
            torch.mm(own, matrix.T, out=at)
        pairs = zip(rows.chunk(count, 1), parts, strict=True)
        return gradient, to_rows, torch.stack([own.T @ part for own, part in pairs])
