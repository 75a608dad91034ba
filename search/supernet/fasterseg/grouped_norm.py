"""Batch normalisation of maps stacked on the batch, each group by statistics of its own; with own backwards.

A cell convolves what its predecessors make as one batch, and still normalises each alone, as if it had come
alone. What is small is computed for all maps at once: on little maps each call costs as much as its work.
Maps are (groups * N, C, H, W), channels_last, of one C; each has a normalisation of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_Size = tuple[int, int]


@dataclass(frozen=True)
class Moments:
    """Batch statistics of maps and their groups: (maps, groups, C).

    Attributes:
        inverse: 1 / standard deviation.
        pixels: of a group of each map, in all processes together: (maps, 1, 1).
        synchronised: of all processes, which must hold equally many pixels.
    """

    mean: Tensor
    inverse: Tensor
    pixels: Tensor
    synchronised: bool


def rectified(maps: Sequence[Tensor], norms: Sequence[_BatchNorm], groups: int) -> tuple[Tensor, ...]:
    """ReLU of the normalised maps."""
    with torch.autocast(maps[0].device.type, enabled=False):  # statistics are never narrow
        made: tuple[Tensor, ...] = _Rectified.apply(_tracked(maps, norms, groups), *_affine(norms), *maps)
    return made


def weighted_sum(maps: Sequence[Tensor], norms: Sequence[_BatchNorm], weights: Tensor, size: _Size) -> Tensor:
    """Sum over maps and groups of weight * ReLU(normalised map, resized to ``size`` if it has another).

    Args:
        weights: (maps, groups).

    Returns:
        (N, C, *size), channels_last.
    """
    with torch.autocast(weights.device.type, enabled=False):
        moments = _tracked(maps, norms, weights.shape[1])
        made: Tensor = _WeightedSum.apply(size, moments, weights, *_affine(norms), *maps)
    return made


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, moments: Moments, scale: Tensor, shift: Tensor, *maps: Tensor) -> Any:
        lines = _lines(scale, shift, moments, maps[0].dtype)
        made = [_normalised(x, *line).relu_() for x, line in zip(maps, lines, strict=True)]
        ctx.save_for_backward(scale, *maps, *made)
        ctx.moments = moments
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        scale, *both = ctx.saved_tensors
        maps, made = both[: len(gradients)], both[len(gradients) :]
        passed = [
            torch.ops.aten.threshold_backward(gradient.contiguous(memory_format=torch.channels_last), own, 0)
            for gradient, own in zip(gradients, made, strict=True)
        ]
        sums = _sums(passed, maps, ctx.moments)
        to_maps = _to_maps(passed, maps, scale[:, None], sums, ctx.moments)
        return None, *sums.sum(2).to(scale.dtype), *to_maps


class _WeightedSum(torch.autograd.Function):
    """Only the maps before normalisation are kept; what is behind them is cheap to compute again."""

    @staticmethod
    def forward(
        ctx: Any, size: _Size, moments: Moments, weights: Tensor, scale: Tensor, shift: Tensor, *maps: Tensor
    ) -> Tensor:
        ctx.save_for_backward(weights, scale, shift, *maps)
        ctx.size, ctx.moments = size, moments
        shares = iter(weights.to(maps[0].dtype).flatten().unbind())
        total: Tensor | None = None
        for x, line in zip(maps, _lines(scale, shift, moments, maps[0].dtype), strict=True):
            made = _resized(_normalised(x, *line), size).relu_()
            for group in made.chunk(weights.shape[1]):
                total = group * next(shares) if total is None else total.addcmul_(group, next(shares))
        assert total is not None
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weights, scale, shift, *maps = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        passed = []
        for x, line in zip(maps, _lines(scale, shift, ctx.moments, gradient.dtype), strict=True):
            made = _resized(_normalised(x, *line), ctx.size)
            for group in made.chunk(weights.shape[1]):
                torch.ops.aten.threshold_backward.grad_input(gradient, group, 0, grad_input=group)
            passed.append(_resize_backward(made, x))
        sums = _sums(passed, maps, ctx.moments)
        # What the weight multiplies is scale * normalised + shift where it is passed on, so its gradient
        # follows from sums that are needed anyway.
        to_weights = (scale[:, None] * sums[0] + shift[:, None] * sums[1]).sum(2).to(weights.dtype)
        to_norms = (sums * weights[..., None]).sum(2).to(scale.dtype)
        to_maps = _to_maps(passed, maps, scale[:, None] * weights[..., None], sums, ctx.moments)
        return None, None, to_weights, *to_norms, *to_maps


def _affine(norms: Sequence[_BatchNorm]) -> tuple[Tensor, Tensor]:
    """Scales and shifts: (maps, C)."""
    return torch.stack([norm.weight for norm in norms]), torch.stack([norm.bias for norm in norms])


@torch.no_grad()
def _tracked(maps: Sequence[Tensor], norms: Sequence[_BatchNorm], groups: int) -> Moments:
    """Running statistics are updated by one group after the other."""
    # Whoever trains with several processes has replaced the batch normalisations by synchronised ones.
    synchronised = type(norms[0]) is not nn.BatchNorm2d
    found: list[tuple[Tensor, Tensor]] = []
    for x, norm in zip(maps, norms, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        own = [norm.running_mean, norm.running_var]
        if synchronised:  # those of this process alone are not wanted, but make what is found float32
            own = [torch.zeros_like(values) for values in own]
        found += [
            torch.ops.aten.batch_norm_update_stats(group, *own, norm.momentum) for group in x.chunk(groups)
        ]
    counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    torch._foreach_add_(counts, groups)
    mean, var = (torch.stack(values).unflatten(0, (-1, groups)) for values in zip(*found, strict=True))
    pixels = mean.new_tensor([x.numel() // x.shape[1] // groups for x in maps])[:, None, None]
    if synchronised:
        pixels = pixels * dist.get_world_size()
        mean, var = _of_all(mean, var)
        for norm, means, variances in zip(norms, mean, var * (pixels / (pixels - 1)), strict=True):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.momentum is not None
            for group in range(groups):
                norm.running_mean.lerp_(means[group], norm.momentum)
                norm.running_var.lerp_(variances[group], norm.momentum)
    return Moments(mean, torch.rsqrt(var + norms[0].eps), pixels, synchronised)


def _of_all(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of all processes' pixels."""
    wide = mean.double(), var.double()  # squares would cancel in single precision
    sums = torch.stack([wide[0], wide[1] + wide[0] ** 2])
    dist.all_reduce(sums)
    means, squares = sums / dist.get_world_size()
    return means.to(mean.dtype), (squares - means**2).clamp_min(0).to(var.dtype)


def _lines(scale: Tensor, shift: Tensor, moments: Moments, dtype: torch.dtype) -> Any:
    """Of each map, constants and factors (groups, 1, C): normalised is constant + factor * map."""
    factor = scale[:, None] * moments.inverse
    constant = shift[:, None] - moments.mean * factor
    return zip(constant[:, :, None].to(dtype), factor[:, :, None].to(dtype), strict=True)


def _normalised(x: Tensor, constant: Tensor, factor: Tensor) -> Tensor:
    return _like(torch.addcmul(constant, _rows(x, len(factor)), factor), x)


def _sums(gradients: Sequence[Tensor], maps: Sequence[Tensor], moments: Moments) -> Tensor:
    """(2, maps, groups, C): over pixels, of the gradient times the normalised map, and of the gradient."""
    groups = moments.mean.shape[1]
    ones = torch.ones_like(moments.mean[0, 0])
    statistics = zip(moments.mean.flatten(0, 1), moments.inverse.flatten(0, 1), strict=True)
    found: list[Tensor] = []
    for gradient, x in zip(gradients, maps, strict=True):
        for own, group in zip(gradient.chunk(groups), x.chunk(groups), strict=True):
            mean, inverse = next(statistics)
            found += torch.ops.aten.native_batch_norm_backward(
                *(own, group, ones, None, None, mean, inverse, True, 0.0), [False, True, True]
            )[1:]
    sums: Tensor = torch.stack(found).unflatten(0, (-1, groups, 2)).movedim(2, 0)
    return sums


def _to_maps(
    gradients: Sequence[Tensor], maps: Sequence[Tensor], scale: Tensor, sums: Tensor, moments: Moments
) -> list[Tensor]:
    """Gradients of the maps before normalisation. ``scale``: (maps, groups or 1, C), with the weights."""
    if moments.synchronised:
        sums = sums.contiguous()
        dist.all_reduce(sums := sums.clone())
    through_var, through_mean = sums / moments.pixels
    factor = scale * moments.inverse
    slope = -factor * moments.inverse * through_var
    constant = -factor * through_mean - slope * moments.mean
    lines = (values[:, :, None].to(maps[0].dtype) for values in (constant, slope, factor))
    made = []
    for gradient, x, constants, slopes, factors in zip(gradients, maps, *lines, strict=True):
        rows = torch.addcmul(constants, _rows(x, len(slopes)), slopes)
        made.append(_like(rows.addcmul_(_rows(gradient, len(slopes)), factors), x))
    return made


def _rows(x: Tensor, groups: int) -> Tensor:
    """(groups * N, C, H, W) -> (groups, N*H*W, C), a view."""
    return x.permute(0, 2, 3, 1).reshape(groups, -1, x.shape[1])


def _like(rows: Tensor, x: Tensor) -> Tensor:
    """The reverse of ``_rows``."""
    return rows.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)


def _resized(x: Tensor, size: _Size) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return torch.ops.aten.upsample_bilinear2d(x, size, True)  # type: ignore[no-any-return]


def _resize_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Of ``_resized``."""
    size = gradient.shape[2:]
    if size == x.shape[2:]:
        return gradient
    return torch.ops.aten.upsample_bilinear2d_backward(gradient, size, x.shape, True)  # type: ignore[no-any-return]
