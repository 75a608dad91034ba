"""What the parts of a chain of cells are called."""

from collections.abc import Sequence

from search.spaces.gas.operations import Kind

DECODER = "decoder"


def slot(cell: int, place: str) -> str:
    """Of a cell: ``in0`` and ``in1``, edges by name, ``sum1`` and ``sum2``, ``out``."""
    return f"cells.{cell}.{place}"


def input_name(cell: int, source: int, nodes: int, *, raw: bool, relu: bool) -> str:
    """Of what brings an input, of that many nodes, to the cell's channels.

    It gives it as it is (``raw``), after ReLU, or both.
    """
    how = "both" if raw and relu else "raw" if raw else "relu"
    return f"{slot(cell, f'in{source}')}.{nodes} {how}"


def edge_name(cell: int, edge: str, option: str) -> str:
    """Of an edge's operation, with how many maps it adds: ``conv_3x3+1``."""
    return f"{slot(cell, edge)}.{option}"


def sum_name(cell: int, node: int, kinds: Sequence[Kind]) -> str:
    """Of a sum that is a kernel of its own: ``map+map``."""
    return f"{slot(cell, f'sum{node}')}.{'+'.join(kinds)}"


def output_name(cell: int, nodes: int) -> str:
    """Of what a cell gives."""
    return f"{slot(cell, 'out')}.{nodes}"


def decoder_name(nodes: int) -> str:
    """Of the decoder, by how many nodes of the last cell it reads."""
    return f"{DECODER}.{nodes}"
