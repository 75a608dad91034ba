"""Projected maps normalised over the batch, weighted and summed over the blocks; with its own backward."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from search.supernet.fused.moments import batch_moments, pixels


def weighted_norm(
    projected: Tensor, scale: Tensor, shift: Tensor, weights: Tensor, *, epsilon: float, synchronised: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over the blocks of weight * normalised map.

    Args:
        projected: (N, H, W, blocks * outputs).
        scale, shift: (blocks * outputs,), of the normalisation.
        weights: (N or 1, blocks).

    Returns:
        (N, H, W, outputs), in the type of ``projected``; its mean and biased variance, without a gradient.
    """
    mixed, mean, var = _WeightedNorm.apply(projected, scale, shift, weights, epsilon, synchronised)
    return mixed, mean, var


class _WeightedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        scale: Tensor,
        shift: Tensor,
        weights: Tensor,
        epsilon: float,
        synchronised: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = batch_moments(projected.permute(0, 3, 1, 2), synchronised)
        inverse = torch.rsqrt(var + epsilon)
        ctx.save_for_backward(projected, scale, shift, weights, mean, inverse)
        ctx.synchronised = synchronised
        ctx.mark_non_differentiable(mean, var)
        factor = scale * inverse
        constant = (weights[:, :, None] * _by_block(shift - mean * factor, weights)).sum(1)
        images = projected.flatten(1, 2)
        mixing = _mixing(factor, weights, images)
        mixed = torch.baddbmm(constant[:, None].to(images.dtype), images, mixing)
        return mixed.view(*projected.shape[:3], -1), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        projected, scale, shift, weights, mean, inverse = ctx.saved_tensors
        images, gradient = projected.flatten(1, 2), gradients[0].flatten(1, 2)
        # Sums over the pixels of each image, by block and output, of the gradient, and of it times what is
        # normalised; from them follow the gradients of all that is small.
        plain = gradient.sum(1, dtype=mean.dtype)[:, None]
        products = torch.bmm(images.mT, gradient).unflatten(1, (weights.shape[1], -1))
        times = products.diagonal(dim1=2, dim2=3).to(mean.dtype) - _by_block(mean, weights) * plain
        times = times * _by_block(inverse, weights)
        to_weights = (_by_block(scale, weights) * times + _by_block(shift, weights) * plain).sum(2)
        if len(weights) == 1:
            to_weights = to_weights.sum(0, keepdim=True)
        to_scale = (weights[:, :, None] * times).sum(0).flatten()
        to_shift = (weights[:, :, None] * plain).sum(0).flatten()
        sums = torch.stack([to_scale, to_shift])
        if ctx.synchronised:
            dist.all_reduce(sums)
        through_var, through_mean = sums / pixels(projected.permute(0, 3, 1, 2), ctx.synchronised)
        factor = scale * inverse
        slope = -factor * inverse * through_var
        offset = -factor * through_mean - slope * mean
        to_images = torch.addcmul(offset.to(images.dtype), images, slope.to(images.dtype))
        to_images.baddbmm_(gradient, _mixing(factor, weights, images).mT)
        return to_images.view(projected.shape), to_scale, to_shift, to_weights, None, None


def _mixing(factor: Tensor, weights: Tensor, images: Tensor) -> Tensor:
    """(N, blocks * outputs, outputs): what weighs and sums, as a matrix; mostly zeros, and still fastest."""
    diagonals = torch.diag_embed(weights[:, :, None] * _by_block(factor, weights)).flatten(1, 2)
    return diagonals.to(images.dtype).expand(len(images), -1, -1)


def _by_block(values: Tensor, weights: Tensor) -> Tensor:
    """(blocks * outputs,) -> (blocks, outputs)."""
    return values.view(weights.shape[1], -1)
