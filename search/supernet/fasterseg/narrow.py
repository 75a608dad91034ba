"""The part of a weight that a narrow map takes, with a gradient that touches no other part."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def narrowed(weight: Tensor, out_channels: int, in_channels: int) -> Tensor:
    """Its first channels, dense.

    Where a backward pass has left a gradient in ``weight.grad`` before, that of the part is added to it in
    place: filling the rest with zeros and adding them takes longer than a narrow convolution. That holds for
    ``backward()`` in one process; several need gradients that pass through autograd whole.
    """
    if weight.shape[:2] == (out_channels, in_channels):
        return weight
    part: Tensor = _Narrowed.apply(weight, out_channels, in_channels)
    return part


class _Narrowed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, out_channels: int, in_channels: int) -> Tensor:
        ctx.weight = weight  # the parameter itself: its gradient is looked up when it is needed
        part = weight[:out_channels, :in_channels]
        return part.clone(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weight, part = ctx.weight, gradients[0]
        place = slice(part.shape[0]), slice(part.shape[1])
        if weight.grad is not None and not (dist.is_available() and dist.is_initialized()):
            weight.grad[place] += part
            return None, None, None
        whole = torch.zeros_like(weight)
        whole[place] = part
        return whole, None, None
