"""A moving average of a network's weights, which is more accurate than the weights themselves."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class Ema:
    """Average of the tensors of ``module`` over its updates; ``.module`` is a network like it, to evaluate.

    The decay is lower at first, (1 + n) / (10 + n) after n updates: else the first weights would stay in it.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._decay, self._updates = decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the present weights in. Counters of batches are copied."""
        self._updates += 1
        share = 1 - min(self._decay, (1 + self._updates) / (10 + self._updates))
        present = module.state_dict()
        for name, average in self.module.state_dict().items():
            if average.is_floating_point():
                average.lerp_(present[name], share)
            else:
                average.copy_(present[name])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and counts."""
        return {"module": self.module.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What ``state_dict`` gave."""
        self.module.load_state_dict(state["module"])
        self._updates = state["updates"]


class Polyak:
    """Average of parameters over their updates, which takes their place from time to time (arXiv:1810.10804).

    Statistics of normalisations stay those of the network itself.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present values in."""
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.lerp_(parameter, 1 - self._decay)

    @torch.no_grad()
    def put(self) -> None:
        """Averages become the parameters."""
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            parameter.copy_(average)
