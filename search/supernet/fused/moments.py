"""Batch statistics of one process, or of all that train together: those must hold equally many pixels.

Statistics of what is narrower than float32 are float32.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce


def pixels(x: Tensor, synchronised: bool) -> int:
    """How many values a channel of ``x`` (N, C, H, W) has, in all processes together."""
    return x.numel() // x.shape[1] * (dist.get_world_size() if synchronised else 1)


def batch_moments(x: Tensor, synchronised: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every channel of ``x`` (N, C, H, W); no gradient."""
    # Running statistics are not wanted here, but they make those returned float32 where x is narrower.
    unused = torch.zeros(2, x.shape[1], dtype=_wide(x), device=x.device)
    mean, var = torch.ops.aten.batch_norm_update_stats(x, unused[0], unused[1], 0.0)
    if not synchronised:
        return mean, var
    mean, var = mean.double(), var.double()  # squares would cancel in single precision
    sums = torch.stack([mean, var + mean**2])
    dist.all_reduce(sums)
    means, squares = sums / dist.get_world_size()
    return means.to(_wide(x)), (squares - means**2).clamp_min(0).to(_wide(x))


def covariance(rows: Tensor, synchronised: bool) -> tuple[Tensor, Tensor]:
    """Mean (C,) and biased covariance (C, C) of ``rows`` (M, C), with a gradient.

    They tell the batch statistics of any 1x1 convolution of the rows without computing it.
    """
    rows = rows.to(_wide(rows))
    mean = _mean_over_ranks(rows.mean(0), synchronised)
    centred = rows - mean.detach()  # they add up to 0, so nothing flows back through the mean here
    return mean, _mean_over_ranks(centred.T @ centred / len(rows), synchronised)


def _mean_over_ranks(tensor: Tensor, synchronised: bool) -> Tensor:
    if not synchronised:
        return tensor
    return all_reduce(tensor.contiguous()) / dist.get_world_size()  # type: ignore[no-any-return]


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
