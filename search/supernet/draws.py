"""Weights of candidates, drawn: Gumbel-softmax (arXiv:1611.01144), of all candidates or of a few."""

import torch
from torch import Tensor


def gumbel_softmax(
    logits: Tensor,
    rows: int,
    temperature: float,
    *,
    paths: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Weights (rows, candidates) that add up to 1, differentiable in ``logits`` (candidates,).

    Args:
        paths: how many candidates have a weight at all, the same in every row, sampled without replacement
            by their probability (Gumbel top-k, arXiv:1903.06059); None for all.
        generator: of any device; without one the global generator of the logits'.
    """
    scores = logits + _gumbel(rows, logits, generator)
    if paths is not None and paths < len(logits):
        # One row is its own sample. Several have one in common, so that the others need not be computed.
        sampling = scores if rows == 1 else logits + _gumbel(1, logits, generator)
        left_out = torch.ones_like(logits, dtype=torch.bool)
        left_out[sampling.detach()[0].topk(paths).indices] = False
        scores = scores.masked_fill(left_out, -torch.inf)
    return torch.softmax(scores / temperature, 1)


def _gumbel(rows: int, logits: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator else logits.device
    exponential = torch.empty(rows, len(logits), device=device, dtype=logits.dtype)
    return -exponential.exponential_(generator=generator).log().to(logits.device)
