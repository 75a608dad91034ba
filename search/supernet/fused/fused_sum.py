"""The weighted sum of a position's inverted residuals, computed together: the same numbers with less work.

- Batch statistics of all first 1x1 convolutions follow from the covariance of their common input, so the
  normalisation is part of the convolution's weights: no pass over the hidden maps, forward or backward.
- Blocks of equal kernel and dilation are one: one 1x1 convolution, one depthwise one, one normalisation.
- Dilation 2 at stride 1 is no dilation on the four phases of the map, at stride 2 on one of them. The phases
  are taken of the input, which has a thirtieth of the hidden maps' channels.
- Normalisation and weight of the projected maps are one factor, and their sum over the candidates one step.

Maps are (N, H, W, C) here, so that 1x1 convolutions are matrix products and channels split without copies.
"""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.networks.graph_module import GraphModule
from search.spaces.inverted_residual import SKIP, InvertedResidual
from search.supernet.fused.hidden import Kind, Layout, hidden_maps
from search.supernet.fused.moments import covariance, pixels
from search.supernet.fused.phases import Phases
from search.supernet.fused.weighted_norm import weighted_norm


@cache
def fusible(candidate: str) -> InvertedResidual | None:
    """The block of that name, if it is one that can be computed together with others."""
    if candidate == SKIP:
        return None
    block = InvertedResidual.parse(candidate)
    return None if block.squeeze_excite or block.activation != "relu" or not block.expansion else block


def fused_sum(
    x: Tensor, blocks: Sequence[tuple[str, GraphModule]], weights: Tensor, stride: int, *, compiled: bool
) -> Tensor:
    """Sum over ``blocks`` of weight * block(x), in training mode, without the blocks' residual additions.

    Args:
        x: (N, C, H, W).
        blocks: fusible ones, by name.
        weights: (N or 1, blocks).
        compiled: see ``Supernet``.

    Returns:
        (N, outputs, H/stride, W/stride), channels_last.
    """
    kinds = _kinds([name for name, _ in blocks])
    order = [index for members in kinds.values() for index in members]
    modules = [blocks[index][1] for index in order]
    expand, spread, project = (_Layer(name, modules) for name in ("expand", "depthwise", "project"))
    layout = _layout(kinds, expand, project, stride, compiled)
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    maps = x.permute(0, 2, 3, 1).contiguous()
    with torch.autocast(device, enabled=False):  # the parts choose for themselves what is narrow
        weight = _folded(expand, maps)
        # With a channel of ones the bias is a column of the weights, which saves passes over the hidden maps.
        maps = functional.pad(maps.to(dtype), (0, 1), value=1.0)
        spreads = spread.concatenated([len(members) for members in kinds.values()])
        norm = (spread.scale, spread.shift)
        projected, mean, var = hidden_maps(layout, maps, weight, norm, spreads, project.dense())
        count = pixels(projected.permute(0, 3, 1, 2), spread.synchronised)
        spread.track(mean, var, count)
        mixed, mean, var = weighted_norm(
            *(projected, project.scale, project.shift, weights[:, order]),
            epsilon=project.epsilon,
            synchronised=project.synchronised,
        )
        project.track(mean, var, count)
        return mixed.permute(0, 3, 1, 2)


def _kinds(names: Sequence[str]) -> dict[tuple[int, int], list[int]]:
    """(kernel, dilation) -> indices of its blocks."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for index, name in enumerate(names):
        block = fusible(name)
        assert block is not None
        kinds.setdefault((block.kernel, block.dilation), []).append(index)
    return kinds


def _layout(
    kinds: dict[tuple[int, int], list[int]], expand: "_Layer", project: "_Layer", stride: int, compiled: bool
) -> Layout:
    widths, outputs = iter(expand.widths), project.widths[0]
    return Layout(
        tuple(
            Kind(Phases(stride, dilation), tuple(next(widths) for _ in members), outputs)
            for (_, dilation), members in kinds.items()
        ),
        project.epsilon,
        project.synchronised,
        compiled,
    )


def _folded(layer: "_Layer", maps: Tensor) -> Tensor:
    """1x1 convolutions of ``maps`` and their normalisations: (outputs, C + 1), the bias last."""
    weight = torch.cat(layer.dense())
    input_mean, input_covariance = covariance(maps.flatten(0, 2), layer.synchronised)
    mean, var = weight @ input_mean, ((weight @ input_covariance) * weight).sum(1)
    layer.track(mean, var, pixels(maps.permute(0, 3, 1, 2), layer.synchronised))
    factor = layer.scale * torch.rsqrt(var + layer.epsilon)
    return torch.cat([weight * factor[:, None], (layer.shift - mean * factor)[:, None]], 1)


class _Layer:
    """One layer of several blocks, as one: a convolution and its batch normalisation."""

    def __init__(self, name: str, blocks: Sequence[GraphModule]) -> None:
        layers = [getattr(block, name) for block in blocks]
        self._convs: list[nn.Conv2d] = [layer.conv for layer in layers]
        self._norms: list[Any] = [layer.bn for layer in layers]
        self.epsilon: float = self._norms[0].eps
        # Whoever trains with several processes has replaced the batch normalisations by synchronised ones.
        self.synchronised = type(self._norms[0]) is not nn.BatchNorm2d

    @cached_property
    def scale(self) -> Tensor:
        return torch.cat([norm.weight for norm in self._norms])

    @cached_property
    def shift(self) -> Tensor:
        return torch.cat([norm.bias for norm in self._norms])

    @property
    def widths(self) -> list[int]:
        """Output channels of each block."""
        return [norm.num_features for norm in self._norms]

    def concatenated(self, counts: Sequence[int]) -> list[Tensor]:
        """Weights of depthwise convolutions, those of the first ``counts[0]`` blocks as one, and so on."""
        convs = iter(self._convs)
        return [torch.cat([next(convs).weight for _ in range(count)]) for count in counts]

    def dense(self) -> list[Tensor]:
        """Weights (outputs, inputs) of 1x1 convolutions; those with groups filled up with zeros."""
        return [
            torch.block_diag(*weight.chunk(conv.groups)) if conv.groups > 1 else weight
            for conv, weight in ((conv, conv.weight.flatten(1)) for conv in self._convs)
        ]

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Update running statistics; ``var`` is biased."""
        torch._foreach_add_([norm.num_batches_tracked for norm in self._norms], 1)
        momentum = self._norms[0].momentum
        for name, values in (("running_mean", mean), ("running_var", var * (count / (count - 1)))):
            running = [getattr(norm, name) for norm in self._norms]
            torch._foreach_lerp_(running, values.split(self.widths), momentum)
