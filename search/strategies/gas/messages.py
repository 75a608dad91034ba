"""What a cell's logits take over from those of the cell before: a graph network between neighbours, in the
search alone (arXiv:1909.06793); and what stands in its place in the paper's comparisons.

The formulas are those remembered of the paper; what it leaves open (d, initial values, which logits the cell
before sends) was chosen here.
"""

import math
from typing import get_args

import torch
from torch import Tensor, nn

from search.errors import InvalidRecipe
from search.strategies.gas.recipe import Message, Sender
from targets.support.text import near_miss

GAMMA, HIDDEN = 0.5, 64


class Messages(nn.Module):
    """Logits of all cells -> those that replace them everywhere: weights of operations, latency, choice.

    Every pair of neighbours has weights of its own. At first nothing changes: what comes back to logits is 0.

    Args:
        shape: (cells, edges, operations).
        kind: ``gcn``: a graph network over edges; ``linear``: one fully connected layer; ``none``.
        sends: see ``Sender``.
        gamma: how much of a message counts.
        hidden: features of an edge in the graph network.

    Raises InvalidRecipe for an unknown kind.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        kind: Message = "gcn",
        *,
        sends: Sender = "own",
        gamma: float = GAMMA,
        hidden: int = HIDDEN,
    ) -> None:
        super().__init__()
        kinds = get_args(Message)
        if kind not in kinds:
            raise InvalidRecipe(f"message {kind!r}{near_miss(kind, kinds)}; allowed: {', '.join(kinds)}")
        cells, edges, operations = shape
        self._chained, self._gamma = sends == "received", gamma
        self.pairs: GraphMessage | LinearMessage | None = None
        if kind == "gcn" and cells > 1:
            self.pairs = GraphMessage(cells - 1, operations, hidden)
        elif kind == "linear" and cells > 1:
            self.pairs = LinearMessage(cells - 1, edges * operations)

    def forward(self, logits: Tensor) -> Tensor:
        """(cells, edges, operations), both."""
        if self.pairs is None:
            return logits
        if not self._chained:
            told = self.pairs(logits[1:], logits[:-1], slice(None))
            return torch.cat([logits[:1], logits[1:] + self._gamma * told])
        found = [logits[:1]]
        for cell in range(1, len(logits)):
            told = self.pairs(logits[cell : cell + 1], found[-1], slice(cell - 1, cell))
            found.append(logits[cell : cell + 1] + self._gamma * told)
        return torch.cat(found)


class GraphMessage(nn.Module):
    """One graph convolution with a residual, for ``pairs`` of neighbours at once.

    Adj = softmax of rows of (cell w1)(before w2)^T, E = before Phi1, G = Adj E W + E; told is G Phi2.
    """

    def __init__(self, pairs: int, operations: int, hidden: int) -> None:
        super().__init__()
        identity = torch.eye(operations).repeat(pairs, 1, 1)
        self.w1, self.w2 = nn.Parameter(identity.clone()), nn.Parameter(identity)
        self.phi1 = nn.Parameter(_xavier(pairs, operations, hidden))
        self.weight = nn.Parameter(_xavier(pairs, hidden, hidden))
        self.phi2 = nn.Parameter(torch.zeros(pairs, hidden, operations))

    def adjacency(self, cells: Tensor, before: Tensor, rows: slice) -> Tensor:
        """(pairs, edges of the cell, edges of the one before)."""
        return torch.softmax((cells @ self.w1[rows]) @ (before @ self.w2[rows]).mT, -1)

    def features(self, cells: Tensor, before: Tensor, rows: slice) -> Tensor:
        """Of the cells' edges, (pairs, edges, hidden)."""
        edges = before @ self.phi1[rows]
        return self.adjacency(cells, before, rows) @ edges @ self.weight[rows] + edges

    def forward(self, cells: Tensor, before: Tensor, rows: slice) -> Tensor:
        """Logits (pairs, edges, operations) of cells and of those before -> what is told, alike."""
        return self.features(cells, before, rows) @ self.phi2[rows]


class LinearMessage(nn.Module):
    """A fully connected layer from all logits of the cell before to all of the cell."""

    def __init__(self, pairs: int, logits: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(pairs, logits, logits))

    def forward(self, cells: Tensor, before: Tensor, rows: slice) -> Tensor:
        """As ``GraphMessage``."""
        return (before.flatten(1)[:, None] @ self.weight[rows]).view(cells.shape)


def _xavier(pairs: int, inputs: int, outputs: int) -> Tensor:
    bound = math.sqrt(6 / (inputs + outputs))
    return torch.empty(pairs, inputs, outputs).uniform_(-bound, bound)
