"""How wide the maps between the cells are in one pass through a supernet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from search.spaces.fasterseg.grid import Grid

Place = tuple[int, int]  # layer that a map enters, and its scale


@dataclass(frozen=True)
class MapWidths:
    """Of every map that enters a layer but the first; all predecessors of a cell give the same.

    Attributes:
        twelfths: of the full channels.
        factors: scalars of value 1, by which gradients reach the logits of the widths; none of fixed widths.
        rows: what was drawn, as ``Logits.ratio`` has logits: a 1 in each row.
    """

    twelfths: Mapping[Place, int]
    factors: Mapping[Place, Tensor] = field(default_factory=dict)
    rows: Sequence[Tensor] = ()

    @classmethod
    def fixed(cls, grid: Grid, width: int) -> "MapWidths":
        """The same everywhere, in twelfths."""
        return cls(dict.fromkeys(places(grid), width))

    @classmethod
    def random(cls, grid: Grid, generator: torch.Generator) -> "MapWidths":
        """All widths alike, each map for itself."""
        chosen = torch.randint(len(grid.widths), (len(list(places(grid))),), generator=generator).tolist()
        pairs = zip(places(grid), chosen, strict=True)
        return cls({place: grid.widths[index] for place, index in pairs})

    @classmethod
    def drawn(cls, grid: Grid, ratio: Sequence[Tensor], generator: torch.Generator) -> "MapWidths":
        """From logits, see ``Logits.ratio``: hard Gumbel-softmax at temperature 1, straight through."""
        hard = [straight_through(logits, generator) for logits in ratio]
        twelfths, factors = {}, {}
        for layer, scale in places(grid):
            row = hard[scale][layer - 1 - (scale == 2)]
            index = int(row.argmax())
            twelfths[layer, scale], factors[layer, scale] = grid.widths[index], row[index]
        return cls(twelfths, factors, hard)


def places(grid: Grid) -> Iterator[Place]:
    """Maps whose width is chosen, in order."""
    return ((layer, scale) for layer in range(1, grid.layers) for scale in range(3) if layer >= scale)


def straight_through(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Rows (rows, options) of a single 1 each, drawn by their softmax, with the gradients of Gumbel-softmax.

    Straight-through estimator, arXiv:1611.01144, section 2.2; temperature 1.
    """
    drawn = torch.empty(logits.shape, dtype=logits.dtype, device=generator.device)
    gumbel = -drawn.exponential_(generator=generator).log().to(logits.device)
    soft = torch.softmax(logits.log_softmax(-1) + gumbel, -1)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard + soft - soft.detach()
