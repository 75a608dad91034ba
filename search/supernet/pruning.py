"""Parameters taken out of optimizers, whole or in part, with what the optimizers remember of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def shrink(parameter: nn.Parameter, kept: Tensor, optimizers: Sequence[Optimizer]) -> nn.Parameter:
    """A new parameter of the entries ``kept`` (indices), in the optimizers in place of the old one.

    What an optimizer keeps for every entry (momentum, moments) is cut likewise; its counters stay.
    """
    new = nn.Parameter(parameter.detach()[kept].clone(), requires_grad=parameter.requires_grad)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [new if p is parameter else p for p in group["params"]]
        if parameter in optimizer.state:
            optimizer.state[new] = {
                key: value[kept].clone()
                if isinstance(value, Tensor) and value.shape == parameter.shape
                else value
                for key, value in optimizer.state.pop(parameter).items()
            }
    return new


def forget(parameters: Sequence[nn.Parameter], optimizers: Sequence[Optimizer]) -> None:
    """Take parameters out of the optimizers, and with them all that was kept for them."""
    gone = set(parameters)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if p not in gone]
        for parameter in gone:
            optimizer.state.pop(parameter, None)


def likely(probabilities: Tensor, threshold: float) -> Tensor:
    """Indices of the candidates at or above ``threshold``, and of the likeliest in any case."""
    kept = probabilities >= threshold
    kept[probabilities.argmax()] = True
    return torch.nonzero(kept).flatten()
