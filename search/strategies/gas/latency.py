"""The latency that a search after GAS pays for: a sum over cells, edges and operations of weight times price.

It is no network's: an edge pays alone, whether or not something reads it. ``SpaceCosts`` tells what networks
cost, from which zeros and what hangs on them have vanished.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from cost_models.cost_model import CostModel
from search.costs.kernel_table import priced_kernels
from search.errors import InvalidSearch
from search.resolution import Resolution
from search.spaces.gas.chain import EDGES, INPUTS, NODES
from search.spaces.gas.names import decoder_name, edge_name, input_name, output_name
from search.spaces.gas.space import GasSpace
from search.spaces.space import Head

Array = Any  # of numpy, or a tensor of PyTorch


@dataclass(frozen=True)
class EdgeLatency:
    """Prices of what a supernet of cells mixes.

    Attributes:
        edges_s: seconds, (cells, edges, operations); 0 of ``zero``.
        fixed_s: of what is the same whatever is chosen: stem, inputs and outputs of cells, decoder. The paper
            leaves it out; with it the logarithm pulls more softly.
    """

    edges_s: Array
    fixed_s: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.fixed_s) and self.fixed_s >= 0 and float(self.edges_s.min()) >= 0):
            raise InvalidSearch("latencies of a search are below 0 or no numbers; profile the target again")
        if self.fixed_s == 0 and float(self.edges_s.max()) == 0:
            raise InvalidSearch(
                "all latencies are 0, whose logarithm a search cannot pay for; profile the target, or take "
                "one that has a prior"
            )

    @classmethod
    def of(cls, model: CostModel, space: GasSpace, resolution: Resolution, head: Head) -> "EdgeLatency":
        """Ask a target's cost model once.

        Raises:
            MissingEntry, CostModelError: it does not know one of the parts.
            InvalidSearch: it knows no price above 0.
        """
        chain = space.chain
        names = [
            [edge_name(cell, edge.name, operation) for edge in EDGES for operation in chain.operations]
            for cell in range(chain.cells)
        ]
        fixed = {"frame", "stem", decoder_name(NODES)}
        for cell in range(chain.cells):
            fixed.add(output_name(cell, NODES))
            fixed |= {input_name(cell, source, NODES, raw=False, relu=True) for source in range(INPUTS)}
        wanted = {*fixed, *(name for row in names for name in row)}
        parts = [part for part in space.parts(resolution, head) if part.name in wanted]
        pieces = model.pieces(priced_kernels(model, parts))
        seconds = {part.name: median_s for part, (median_s, _, _) in zip(parts, pieces, strict=True)}
        shape = (chain.cells, len(EDGES), len(chain.operations))
        prices = np.array([[seconds.get(name, 0.0) for name in row] for row in names]).reshape(shape)
        return cls(prices, sum(seconds.get(name, 0.0) for name in fixed))

    def on(self, device: torch.device | None = None) -> "EdgeLatency":
        """The same for tensors: float32, there."""
        return replace(self, edges_s=torch.tensor(self.edges_s, dtype=torch.float32, device=device))

    def expected(self, weights: Array) -> Array:
        """Seconds, where operations have these weights (cells, edges, operations)."""
        return (weights * self.edges_s).sum() + self.fixed_s
