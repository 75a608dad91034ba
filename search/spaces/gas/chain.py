"""The chain of cells that the networks after GAS are: how many, how wide, of which operations, as data."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

from search.errors import InvalidArchitecture
from targets.support.text import near_miss

POOL, SKIP, ZERO, CONV, SEPARABLE = "max_pool_3x3", "skip", "zero", "conv_3x3", "sep_conv_3x3"
DILATIONS = {f"dil_sep_conv_3x3_d{dilation}": dilation for dilation in (2, 4, 8)}
OPERATIONS = (POOL, SKIP, ZERO, CONV, SEPARABLE, *DILATIONS)
"""In the order of the logits; the paper does not tell its own."""
INPUTS = 2  # of a cell: what the two cells before it gave
NODES = 2
_LEAST = 4  # pixels a side of the map that the decoder gets: on fewer its windows see one of them


@dataclass(frozen=True, slots=True)
class Edge:
    """From a cell's input 0 or 1, or its node 1, which is source 2, to its node 1 or 2."""

    name: str
    source: int
    node: int

    @property
    def from_input(self) -> bool:
        """Whether it has the cell's stride."""
        return self.source < INPUTS


EDGES = (
    Edge("in0_1", 0, 1),
    Edge("in1_1", 1, 1),
    Edge("in0_2", 0, 2),
    Edge("in1_2", 1, 2),
    Edge("1_2", 2, 2),
)


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """The decoder: a 1x1 convolution, dilated ones and a pooled map beside each other, ``channels`` each."""

    rates: tuple[int, ...] = (6, 12, 18)
    channels: int = 128


@dataclass(frozen=True, kw_only=True)
class CellChain:
    """Stem, independent cells one after the other, decoder.

    Attributes:
        channels: of the first convolution; the others of the stem have twice as many, the cells' edges as
            many until the first reduction.
        cells: how many.
        reductions: which of them halve the map, from 0.
        growth: by which factor a reduction has more channels than the cell before.
        stem_strides: of its 3x3 convolutions.
        operations: what an edge may be, some of ``OPERATIONS``, in their order.
        empty: whether a cell that gives nothing but zeros is ``refused``, or stands for ``zeros``: it is left
            out, with what reads nothing else.
    """

    channels: int
    cells: int = 14
    reductions: tuple[int, ...] = (4, 9)
    growth: int = 2
    stem_strides: tuple[int, ...] = (2, 2, 1)
    decoder: Pyramid = Pyramid()
    operations: tuple[str, ...] = OPERATIONS
    empty: Literal["refused", "zeros"] = "zeros"

    def __post_init__(self) -> None:
        faults = [
            f"unknown operation {name!r}{near_miss(name, OPERATIONS)}; allowed: {', '.join(OPERATIONS)}"
            for name in self.operations
            if name not in OPERATIONS
        ]
        outside = [index for index in self.reductions if not 0 <= index < self.cells]
        if outside or sorted(set(self.reductions)) != list(self.reductions):
            faults.append(
                f"reductions are {', '.join(map(str, self.reductions))}; allowed: cells from 0 to "
                f"{self.cells - 1}, each once, in rising order"
            )
        numbers = {"channels": self.channels, "cells": self.cells, "growth": self.growth}
        numbers["the decoder's channels"] = self.decoder.channels
        faults += [f"{name} is {value}, allowed: 1 or more" for name, value in numbers.items() if value < 1]
        if self.channels % 2:
            faults.append(f"channels is {self.channels}, allowed: even numbers; a strided skip makes halves")
        if set(self.stem_strides) - {1, 2} or not self.stem_strides:
            faults.append(f"stem_strides are {self.stem_strides}, allowed: 1 and 2, one or more")
        if min(self.decoder.rates, default=1) < 1:
            faults.append(f"the decoder's rates are {self.decoder.rates}, allowed: 1 or more")
        if set(self.operations) <= {ZERO}:
            faults.append(f"operations has nothing but {ZERO}; allowed: others as well")
        if faults:
            raise InvalidArchitecture(f"cells: {'; '.join(faults)}")

    @cached_property
    def stride(self) -> int:
        """How often an image's side is divided before the decoder."""
        return self.divisor(self.cells - 1)

    @property
    def live_operations(self) -> tuple[str, ...]:
        """All but ``zero``."""
        return tuple(operation for operation in self.operations if operation != ZERO)

    @property
    def given(self) -> tuple[int, ...]:
        """How many nodes of a cell may give something, where any does."""
        return (1, NODES) if ZERO in self.operations else (NODES,)

    @property
    def least_side(self) -> int:
        """Pixels of an image below which the decoder's windows see one pixel of its map and zeros."""
        return _LEAST * self.stride

    def edge_channels(self, cell: int) -> int:
        """Of the maps that a cell's edges work on, and that each of its nodes gives."""
        reduced = sum(index <= cell for index in self.reductions)
        return self.channels * int(self.growth**reduced)

    def stem_channels(self) -> tuple[int, ...]:
        """Of its convolutions."""
        return (self.channels, *[2 * self.channels] * (len(self.stem_strides) - 1))

    def divisor(self, cell: int) -> int:
        """How often an image's side is divided in what a cell gives; ``cell`` -1 is the stem."""
        return prod(self.stem_strides) << sum(index <= cell for index in self.reductions)

    def reduces(self, cell: int) -> bool:
        """Whether it halves the map."""
        return cell in self.reductions

    def halves_input(self, cell: int, source: int) -> bool:
        """Whether an input is twice as large as the other and brought to its size."""
        return source == 0 and cell > 0 and self.reduces(cell - 1)

    def input_channels(self, cell: int, source: int, nodes: int) -> int:
        """Of an input to which that many nodes of the cell before gave something; the stem counts as both."""
        maker = max(cell - INPUTS + source, -1)
        return nodes * self.edge_channels(maker) if maker >= 0 else self.stem_channels()[-1]
