"""Steps of FasterSeg's co-search for ``supernet_step.py``: teacher and student on cells that they share."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.resolution import Resolution
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.registry import get_space
from search.supernet.fasterseg.supernet import GridSupernet
from search.supernet.fasterseg.widths import MapWidths

CLASSES = 19
_DIVISOR = 8  # of the predictions' sides


class GridTraining:
    """One form of the supernet in the co-search, by the published settings, without its latency.

    A step is one of the logits and one of the weights, on images of their own; each is four passes, the
    teacher, the student at drawn widths, at its widest and at its narrowest, of which the losses of all five
    predictions are added. Backward comes after every pass, and asks for the gradients that the step takes.
    Losses are cross-entropies of all pixels.

    Args:
        form: of ``GRID_FORMS`` in ``supernet_step.py``.
        layers, base: of the grid; None for the space's own.
    """

    def __init__(
        self, form: str, crop: Resolution, batch: int, *, layers: int | None, base: int | None
    ) -> None:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {
            name: value for name, value in (("layers", layers), ("base", base)) if value is not None
        }
        spaces = {}
        for name in ("teacher", "student"):
            space = get_space(f"fasterseg-{name}")
            assert isinstance(space, FastersegSpace)
            spaces[name] = replace(space, grid=replace(space.grid, **sizes))
        self._grid = spaces["student"].grid
        self._supernet = GridSupernet(spaces, CLASSES, form="fused" if form == "fused" else "plain").train()
        self._published = form == "published"
        plain_layout = form in ("published", "plain")
        layout = torch.contiguous_format if plain_layout else torch.channels_last
        self._supernet.to(memory_format=layout)  # type: ignore[call-overload]
        self._generator = torch.Generator().manual_seed(0)
        self._weights = torch.optim.SGD(
            self._supernet.weight_parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, foreach=False
        )
        logits = [p for name in spaces for p in self._supernet.learner(name).logit_parameters()]
        self._logits = torch.optim.Adam(logits, lr=3e-4, betas=(0.5, 0.999))
        images = torch.randn(2, batch, 3, *crop)
        self._images = [half.contiguous(memory_format=layout) for half in images]
        sides = [side // _DIVISOR for side in crop]
        self._labels = torch.randint(CLASSES, (2, batch, *sides))

    def parameters(self) -> dict[str, Tensor]:
        """Logits and weights."""
        return dict(self._supernet.named_parameters())

    def step(self) -> None:
        """One of the logits, one of the weights."""
        optimizers = self._logits, self._weights
        for half, optimizer in enumerate(optimizers):
            for other in optimizers:
                other.zero_grad()
                _wanted(other, self._published or other is optimizer)
            self._descend(half)
            if optimizer is self._weights:
                nn.utils.clip_grad_norm_(self._supernet.weight_parameters(), 5.0)
            optimizer.step()

    def _descend(self, half: int) -> None:
        """Backward of every pass on a half of the images, one after the other if not as published."""
        total: Tensor | None = None
        for learner, widths in self._passes():
            predictions = self._supernet(self._images[half], learner, widths)
            losses: list[Tensor] = [functional.cross_entropy(p, self._labels[half]) for p in predictions]
            loss = sum(losses[1:], losses[0])
            if self._published:
                total = loss if total is None else total + loss
            else:
                loss.backward()  # type: ignore[no-untyped-call]
        if total is not None:
            total.backward()  # type: ignore[no-untyped-call]

    def _passes(self) -> Iterator[tuple[str, MapWidths]]:
        grid = self._grid
        yield "teacher", MapWidths.fixed(grid, grid.widths[-1])
        ratio = list(self._supernet.learner("student").ratio)
        yield "student", MapWidths.drawn(grid, ratio, self._generator)
        yield "student", MapWidths.fixed(grid, grid.widths[-1])
        yield "student", MapWidths.fixed(grid, grid.widths[0])


def _wanted(optimizer: torch.optim.Optimizer, wanted: bool) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.requires_grad_(wanted)
