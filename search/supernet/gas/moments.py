"""Mean and covariance of channels, with a backward pass of one product."""

from typing import Any

import torch
from torch import Tensor


def moments(rows: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Mean (G, C) and biased covariance (G, C, C) of blocks of ``block`` channels of ``rows`` (pixels, G * C).

    Never narrower than float32. Channels of different blocks are multiplied too: one product of matrices that
    are not split is faster than many of some that are.
    """
    mean, products = _Moments.apply(rows)
    mean = mean.view(-1, block)
    blocks = products.view(len(mean), block, len(mean), block).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    return mean, blocks - mean[:, :, None] * mean[:, None, :]


class _Moments(torch.autograd.Function):
    """Means of values, and of products of two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return wide.mean(0), (wide.T @ wide) / len(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        to_mean, to_products = (gradient.to(rows.dtype) / len(rows) for gradient in gradients)
        return torch.addmm(to_mean, rows, to_products + to_products.T)
