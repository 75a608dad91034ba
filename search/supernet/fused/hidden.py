"""The hidden maps of a position's inverted residuals: expanded, spread by depthwise convolutions, projected.

One function with its own backward pass, because the hidden maps are what costs time and memory. Of them those
before and after the depthwise convolutions are kept, once each; what lies between is computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from search.supernet.fused.depthwise import depthwise, depthwise_backward
from search.supernet.fused.moments import batch_moments
from search.supernet.fused.norm import Norm, rectify_backward, rows_of
from search.supernet.fused.phases import Phases

PART_BYTES = 400 * 2**20


@dataclass(frozen=True)
class Kind:
    """Blocks of one kernel and dilation.

    Attributes:
        widths: hidden channels of each block.
        outputs: channels that each block makes.
    """

    phases: Phases
    widths: tuple[int, ...]
    outputs: int


@dataclass(frozen=True)
class Layout:
    """What ``hidden_maps`` computes. Channels of hidden maps are ordered by kind, then by block.

    Attributes:
        epsilon, synchronised: of the batch normalisation.
        compiled: whether PyTorch's compiler makes the passes over the hidden maps.
    """

    kinds: tuple[Kind, ...]
    epsilon: float
    synchronised: bool
    compiled: bool


def hidden_maps(
    layout: Layout,
    maps: Tensor,
    weight: Tensor,
    norm: tuple[Tensor, Tensor],
    spreads: Sequence[Tensor],
    projections: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Expand, rectify, convolve depthwise, normalise over the batch, rectify, project.

    Args:
        maps: (N, H, W, C + 1), the last channel all ones, which gets no gradient.
        weight: of all first 1x1 convolutions, (hidden, C + 1), the bias last.
        norm: scale and shift (hidden,) of the normalisations after the depthwise convolutions.
        spreads: weights of the depthwise convolutions, one (hidden of the kind, 1, k, k) a kind.
        projections: one (outputs, hidden of the block) a block.

    Returns:
        (N, H', W', sum of outputs), not yet normalised, in the type of ``maps``; mean and biased variance of
        what the depthwise convolutions made, without a gradient.
    """
    narrow = [tensor.to(maps.dtype) for tensor in (weight, *spreads, *projections)]
    projected, mean, var = _HiddenMaps.apply(layout, maps, *norm, *narrow)
    return projected, mean, var


class _HiddenMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, maps: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = []
        for kind, own in zip(layout.kinds, _by_kind(layout, tensors), strict=True):
            stride, dilation = kind.phases.window(maps)
            narrow = _expanded(kind.phases.split(maps), own.expand)
            wide = depthwise(narrow, own.spread, stride, dilation)
            mean, var = batch_moments(wide, layout.synchronised)
            norm = _norm(own, mean, var, layout)
            projected = _projected(norm.rectified(wide), own.projections)
            found.append((kind.phases.merge(projected, maps), mean, var, narrow, wide))
        projected, mean, var = (torch.cat(part, -1) for part in list(zip(*found, strict=True))[:3])
        ctx.layout = layout
        ctx.save_for_backward(maps, mean, var, *tensors, *(kept for *_, a, b in found for kept in (a, b)))
        ctx.mark_non_differentiable(mean, var)
        return projected, mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        layout: Layout = ctx.layout
        maps, mean, var, *saved = ctx.saved_tensors
        count = 2 * len(layout.kinds)
        tensors, kept = saved[:-count], saved[-count:]
        shares = _by_kind(layout, tensors)
        widths = [len(own.expand) for own in shares]
        of_kinds = gradients[0].split([kind.outputs * len(kind.widths) for kind in layout.kinds], -1)
        to_maps, found = torch.zeros_like(maps), []
        for kind, own, gradient, narrow, wide, mean_, var_ in zip(
            *(layout.kinds, shares, of_kinds, kept[::2], kept[1::2], mean.split(widths), var.split(widths)),
            strict=True,
        ):
            norm = _norm(own, mean_, var_, layout)
            gradient = kind.phases.unmerge(gradient, maps)
            to_split, to_own = _kind_backward(kind, own, norm, gradient, maps, narrow, wide)
            kind.phases.add_unsplit(to_maps[..., :-1], to_split)
            found.append(to_own)
        to_scale, to_shift, to_expand = (
            torch.cat([getattr(own, name) for own in found]) for name in ("scale", "shift", "expand")
        )
        to_projections = [projection for own in found for projection in own.projections]
        return None, to_maps, to_scale, to_shift, to_expand, *(own.spread for own in found), *to_projections


class _Own(NamedTuple):
    """Parameters of a kind, or their gradients."""

    scale: Tensor
    shift: Tensor
    expand: Tensor
    spread: Tensor
    projections: Sequence[Tensor]


def _by_kind(layout: Layout, tensors: Sequence[Tensor]) -> list[_Own]:
    """Of the tensors that ``_HiddenMaps`` takes."""
    widths = [sum(kind.widths) for kind in layout.kinds]
    spreads, projections = tensors[3 : 3 + len(widths)], iter(tensors[3 + len(widths) :])
    return [
        _Own(scale, shift, expand, spread, [next(projections) for _ in kind.widths])
        for kind, spread, scale, shift, expand in zip(
            *(layout.kinds, spreads, *(tensor.split(widths) for tensor in tensors[:3])), strict=True
        )
    ]


def _kind_backward(
    kind: Kind, own: _Own, norm: Norm, gradient: Tensor, maps: Tensor, narrow: Tensor, wide: Tensor
) -> tuple[Tensor, _Own]:
    """Gradients of ``kind.phases.split(maps)``, without its last channel, and of the parameters.

    Args:
        gradient: (N, H', W', outputs), in the order of the split maps' pixels.
        narrow, wide: hidden maps before and after the depthwise convolution.
    """
    rectified = norm.rectified(wide)
    to_wide, to_projections = _projected_backward(gradient, rectified, own.projections)
    to_wide, (to_scale, to_shift) = norm.backward(to_wide, rectified, wide)
    to_narrow, to_spread = depthwise_backward(to_wide, narrow, own.spread, *kind.phases.window(maps))
    rectify_backward(to_narrow, narrow)
    rows, split = rows_of(to_narrow), kind.phases.split(maps)
    to_split = torch.mm(rows, own.expand[:, :-1]).view(*split.shape[:3], -1)
    to_expand = torch.mm(split.flatten(0, 2).T, rows).T
    return to_split, _Own(to_scale, to_shift, to_expand, to_spread, to_projections)


def _expanded(maps: Tensor, weight: Tensor) -> Tensor:
    """(N, H, W, C + 1) -> (N, hidden, H, W), channels_last, rectified."""
    rows = torch.mm(maps.flatten(0, 2), weight.T).relu_()
    return rows.view(*maps.shape[:3], -1).permute(0, 3, 1, 2)


def _projected(rectified: Tensor, projections: Sequence[Tensor]) -> Tensor:
    """(N, hidden, H, W) -> (N, H, W, sum of outputs), each block's channels on their own."""
    rows = rows_of(rectified)
    outputs = [len(projection) for projection in projections]
    projected = rows.new_empty(len(rows), sum(outputs))
    shares = rows.split([projection.shape[1] for projection in projections], 1)
    for share, projection, out in zip(shares, projections, projected.split(outputs, 1), strict=True):
        torch.mm(share, projection.T, out=out)
    return projected.view(rectified.shape[0], *rectified.shape[2:], -1)


def _projected_backward(
    gradient: Tensor, rectified: Tensor, projections: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of ``rectified`` and of the projections."""
    widths = [projection.shape[1] for projection in projections]
    of_blocks = gradient.flatten(0, 2).split([len(projection) for projection in projections], 1)
    to_rectified = torch.empty_like(rectified)
    for of_block, projection, out in zip(
        of_blocks, projections, rows_of(to_rectified).split(widths, 1), strict=True
    ):
        torch.mm(of_block, projection, out=out)
    shares = rows_of(rectified).split(widths, 1)
    return to_rectified, [of_block.T @ share for of_block, share in zip(of_blocks, shares, strict=True)]


def _norm(own: _Own, mean: Tensor, var: Tensor, layout: Layout) -> Norm:
    kind = Norm
    if layout.compiled:
        from search.supernet.fused.compiled import CompiledNorm  # the compiler takes seconds to load

        kind = CompiledNorm
    return kind(own.scale, own.shift, mean, var, epsilon=layout.epsilon, synchronised=layout.synchronised)
