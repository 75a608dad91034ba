"""Weights of the operations of every edge, drawn anew for every step; and the temperature that falls."""

import torch
from torch import Tensor

FIRST, LAST = 1.0, 0.03
"""Temperatures of the paper; that they fall exponentially was chosen here."""


def temperature(done: float, first: float = FIRST, last: float = LAST) -> float:
    """``done``: share of the steps, 0 to 1."""
    return float(first * (last / first) ** min(max(done, 0.0), 1.0))


def relaxed(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Gumbel-softmax (arXiv:1611.01144): weights (..., operations), differentiable in the logits; sums are 1.

    Args:
        uniform: numbers above 0 and below 1, of the same shape.
    """
    return torch.softmax((logits - (-uniform.log()).log()) / temperature, -1)


def drawn(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A draw for every edge; the same for the same state of the generator, whose device is the CPU's."""
    tiny = torch.finfo(torch.float32).tiny
    uniform = torch.rand(logits.shape, generator=generator).clamp(tiny, 1 - 1e-7)
    return relaxed(logits, uniform.to(logits), temperature)
