"""The spaces after GAS (arXiv:1909.06793) that ship, as narrow as the paper's search and twice as wide, and
the same of other sizes."""

from dataclasses import replace
from functools import cache

from search.errors import InvalidArchitecture, UnknownSpace
from search.spaces.gas.chain import CellChain
from search.spaces.gas.space import GasSpace
from search.spaces.sizes import read_sizes, sized_name

GAS = (
    GasSpace(
        name="gas",
        summary="after GAS: 14 independent cells of 5 edges, 8 operations, 8 first channels",
        chain=CellChain(channels=8),
    ),
    GasSpace(
        name="gas-wide",
        summary="after GAS: 14 independent cells of 5 edges, 8 operations, 16 first channels",
        chain=CellChain(channels=16),
    ),
)
SIZES = {"cells": 48, "channels": 256, "growth": 4}
"""Of a chain, what a space's name may say otherwise (``gas:cells=8``), and the most."""


def resized(space: GasSpace, sizes: str) -> GasSpace:
    """A space of another size.

    Args:
        sizes: ``cells=8,channels=12``; what is left out stays. Reductions stay where they are in proportion
            to the cells.

    Raises UnknownSpace where they are none, or the chain takes no such.
    """
    found = read_sizes(space.name, sizes, SIZES, "cells=8,channels=12")
    try:
        return _of(space, **{**_sizes(space.chain), **found})
    except InvalidArchitecture as error:
        raise UnknownSpace(f"space {space.name}:{sizes}: {error}") from None


@cache
def _of(space: GasSpace, cells: int, channels: int, growth: int) -> GasSpace:
    """Kept, with all that it comes to know of itself."""
    own = space.chain
    name = sized_name(space.name, _sizes(own), {"cells": cells, "channels": channels, "growth": growth})
    if name == space.name:
        return space
    reductions = tuple(round(index * cells / own.cells) for index in own.reductions)
    chain = replace(own, cells=cells, channels=channels, growth=growth, reductions=reductions)
    summary = f"after GAS: {cells} independent cells of 5 edges, 8 operations, {channels} first channels"
    return GasSpace(name=name, summary=summary, chain=chain)


def _sizes(chain: CellChain) -> dict[str, int]:
    return {name: getattr(chain, name) for name in SIZES}
