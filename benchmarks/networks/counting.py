"""Parameters and multiply-accumulates, counted by PyTorch on tensors without values."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .published import TOLERANCE, Published


def counts(build: Callable[[], nn.Module], height: int, width: int, inputs: int = 3) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of convolutions and products on one image."""
    with torch.device("meta"):
        network, image = build().eval(), torch.zeros(1, inputs, height, width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def off(row: Published) -> tuple[float | None, float | None]:
    """By what share ours has more parameters and MACs than the row; None where it does not tell."""
    params, macs = counts(row.form, row.height, row.width, row.inputs)
    of_params = params / 1e6 / row.params_m - 1 if row.params_m else None
    of_macs = macs / 1e9 / row.gmacs - 1 if row.gmacs else None
    return of_params, of_macs


def is_met(shares: tuple[float | None, float | None]) -> bool:
    """Whether all that is told is met."""
    return all(share is None or abs(share) <= TOLERANCE for share in shares)
