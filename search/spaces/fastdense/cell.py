"""The cell that all blocks share: which of its positions read which, and which of them compute anything.

Position 0 is the input, 1 the first operation on it; layer l has positions 2 + 3l and 3 + 3l, two operations
on earlier positions, and 4 + 3l, their sum. The result is the sum of the loose ends: of the first operation
and the layers' sums those that no later layer takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from cost_models.ir.graph import Graph
from search.spaces.fastdense.assembly import Assembly
from search.spaces.fastdense.operations import NONE, SKIP, sum_graph, unchanged_graph

FIRST = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """Two operations, on two earlier positions."""

    reads: tuple[int, int]
    operations: tuple[str, str]


def left_of(layer: int) -> int:
    """Position of a layer's first operation, which is how many positions its reads choose from."""
    return 2 + 3 * layer


def is_end(position: int) -> bool:
    """Whether it is part of the result unless a layer takes it: the first operation, and sums."""
    return position == FIRST or (position > FIRST and (position - 2) % 3 == 2)


def position_name(position: int) -> str:
    """``left 1``: of the first layer the first operation."""
    if position < 2:
        return ("input", "first")[position]
    layer, place = divmod(position - 2, 3)
    return f"{('left', 'right', 'sum')[place]} {layer + 1}"


@dataclass(frozen=True)
class Cell:
    """One cell. ``first``: the operation on the input."""

    first: str
    layers: tuple[Layer, ...]

    @cached_property
    def operations(self) -> dict[int, tuple[int, str]]:
        """Position -> what it reads, and the operation there; sums are left out."""
        found = {FIRST: (0, self.first)}
        for index, layer in enumerate(self.layers):
            for side in (0, 1):
                found[left_of(index) + side] = layer.reads[side], layer.operations[side]
        return found

    @cached_property
    def loose(self) -> tuple[int, ...]:
        """Ends that no later layer takes, whether they are zero or not."""
        taken = {read for layer in self.layers for read in layer.reads}
        ends = (FIRST, *(left_of(index) + 2 for index in range(len(self.layers))))
        return tuple(end for end in ends if end not in taken)

    @cached_property
    def nonzero(self) -> frozenset[int]:
        """Positions that are not zero everywhere: what ``none`` gives is, and what reads only that."""
        found = {0}
        for position in range(1, left_of(len(self.layers))):
            if position in self.operations:
                read, operation = self.operations[position]
                alive = operation != NONE and read in found
            else:
                alive = bool({position - 1, position - 2} & found)
            found |= {position} if alive else set()
        return frozenset(found)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """What adds up to the result; none where the cell gives nothing."""
        return tuple(end for end in self.loose if end in self.nonzero)

    @cached_property
    def needed(self) -> frozenset[int]:
        """Positions that are not zero and that the result depends on."""
        found = set(self.ends)
        for position in reversed(range(1, left_of(len(self.layers)))):
            if position not in found:
                continue
            if position in self.operations:
                read, _ = self.operations[position]
                found.add(read)
            else:
                found |= {position - 1, position - 2} & self.nonzero
        return frozenset(found)

    def place(self, net: Assembly, slot: str, at: str, x: str, graph_of: Callable[[str], Graph]) -> str:
        """Put the cell into a network, on a map ``x``; returns its result.

        Args:
            slot: what the names of its parts begin with.
            at: which size its maps have, as those names say it.
            graph_of: layers of an operation.
        """
        values = {0: x}

        def add(position: int, option: str, graph: Graph, *inputs: str) -> str:
            own = position_name(position).replace(" ", "")
            return net.add(f"{slot}.{own}", f"{option} at {at}", graph, *inputs)

        for position in sorted(self.needed - {0}):
            if position in self.operations:
                read, operation = self.operations[position]
                value = values[read]
                if operation != SKIP:
                    value = add(position, operation, graph_of(operation), value)
            else:
                sides = [side for side in (position - 2, position - 1) if side in self.needed]
                skips = [self.operations[side][1] == SKIP for side in sides]
                value = values[sides[0]]
                if len(sides) == 2:
                    other = values[sides[1]]
                    if all(skips):
                        other = add(sides[1], SKIP, unchanged_graph(), other)
                    value = add(position, "sum", sum_graph(), value, other)
                elif skips[0] and position in self.ends:
                    value = add(position, SKIP, unchanged_graph(), value)
            values[position] = value
        total = values[self.ends[0]]
        for index, end in enumerate(self.ends[1:], 1):
            total = net.add(f"{slot}.ends{index}", f"sum at {at}", sum_graph(), total, values[end])
        return total
