"""Of which kernels a node's sum is made: a sum runs in the kernel of the first edge that computes something.

TVM takes sums into the convolution or pooling before them, one of those that meet. Where none meet, what only
moves or adds is one kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from search.spaces.gas.operations import Kind

HALVES = " in halves"
"""Of an option: the halves of a strided skip, which the sum puts together."""


@dataclass(frozen=True)
class Sum:
    """How the edges that come into a node are added.

    Attributes:
        order: places of the edges that give something; the first one computes, if any does.
        endings: of the option of each of these edges, by place: ``+1`` adds one map.
        alone: kinds of what a kernel of its own adds, in order; empty where there is none.
    """

    order: tuple[int, ...]
    endings: dict[int, str]
    alone: tuple[Kind, ...]

    @property
    def adds(self) -> int:
        """How many maps the kernel of the first edge adds."""
        return 0 if self.alone else len(self.order) - 1


def summed(kinds: Sequence[Kind | None]) -> Sum:
    """Of a node whose edges give these; None is nothing."""
    live = [place for place, kind in enumerate(kinds) if kind is not None]
    order = sorted(live, key=lambda place: (["work", "pair", "map"].index(str(kinds[place])), place))
    endings = dict.fromkeys(order, "")
    if not order or kinds[order[0]] == "work" or len(order) == 1:
        if len(order) > 1:
            endings[order[0]] = f"+{len(order) - 1}"
        return Sum(tuple(order), endings, ())
    endings = {place: HALVES if kinds[place] == "pair" else "" for place in order}
    return Sum(tuple(order), endings, tuple(kind for place in order if (kind := kinds[place]) is not None))
