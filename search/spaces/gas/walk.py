"""What of a genotype's cells is there: zeros vanish, and so does what gives or reads nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.spaces.gas.chain import EDGES, INPUTS, NODES, ZERO, CellChain
from search.spaces.gas.operations import wants_relu


def decision(cell: int, edge: str) -> str:
    """By which an edge's operation is chosen."""
    return f"cells.{cell}.{edge}"


@dataclass(frozen=True)
class LiveCell:
    """A cell as far as it is there.

    Attributes:
        index: its place in the chain.
        operations: of each edge of ``EDGES``; ``zero`` also where the edge reads nothing but zeros.
        nodes: whether node 1 and node 2 give something.
        coming: of each input, how many nodes of the cell before gave something; the stem counts as two.
        is_read: whether something that reaches the decoder reads it.
    """

    index: int
    operations: tuple[str, ...]
    nodes: tuple[bool, bool]
    coming: tuple[int, int]
    is_read: bool = True

    @property
    def given(self) -> int:
        """How many of its nodes give something."""
        return sum(self.nodes)

    def into(self, node: int) -> list[tuple[int, str]]:
        """Edges that come into a node: place in ``EDGES``, operation."""
        return [(place, self.operations[place]) for place, edge in enumerate(EDGES) if edge.node == node]

    def readers(self, source: int) -> list[str]:
        """Operations, other than zero, of the edges from an input."""
        pairs = zip(EDGES, self.operations, strict=True)
        return [operation for edge, operation in pairs if edge.source == source and operation != ZERO]

    def wanted(self, source: int, *, strided: bool) -> tuple[bool, bool]:
        """Whether an input is read as it is, and after ReLU."""
        relu = [wants_relu(operation, strided=strided) for operation in self.readers(source)]
        return not all(relu), any(relu)


def live_cells(chain: CellChain, genotype: Mapping[str, str]) -> list[LiveCell]:
    """All cells in order, with what is there of each."""
    found: list[LiveCell] = []
    for index in range(chain.cells):
        coming = [found[before].given if before >= 0 else NODES for before in (index - 2, index - 1)]
        chosen = [genotype[decision(index, edge.name)] for edge in EDGES]
        found.append(_cell(index, chosen, (coming[0], coming[1])))
    read = [False] * (chain.cells + 1)
    read[chain.cells - 1] = True
    for cell in reversed(found):
        for source in range(INPUTS):
            before = cell.index - INPUTS + source
            if before >= 0 and read[cell.index] and cell.readers(source):
                read[before] = True
    return [
        LiveCell(cell.index, cell.operations, cell.nodes, cell.coming, read[cell.index]) for cell in found
    ]


def _cell(index: int, chosen: Sequence[str], coming: tuple[int, int]) -> LiveCell:
    there = [bool(count) for count in coming]
    operations: list[str] = []
    for node in range(1, NODES + 1):
        places = [place for place, edge in enumerate(EDGES) if edge.node == node]
        operations += [chosen[place] if there[EDGES[place].source] else ZERO for place in places]
        there.append(any(operations[place] != ZERO for place in places))
    return LiveCell(index, tuple(operations), (there[INPUTS], there[INPUTS + 1]), coming)
