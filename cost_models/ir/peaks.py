"""Where maps are largest: what stands behind heat maps when they are deployed.

Rows and neighbours are picked by comparing every place with the one that is meant, and adding up: what
gathers by an index that was computed fuses with nothing in TVM, and maps are small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cost_models.errors import InvalidGraph
from cost_models.ir.op import Op, Pattern, Shape, Sort

FLATTEST = 1e-9  # what a peak is above its neighbours together, at least, when its place is computed
AROUND = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))  # of a peak and its neighbours: rows down, columns across


@dataclass(frozen=True)
class RowMax(Op):
    """The largest value of each row: (N, C, H, W) -> (N, C, H)."""

    pattern: ClassVar[Pattern] = "comm_reduce"
    sort: ClassVar[Sort] = "reductions"

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, height, _ = inputs[0]
        return batch, channels, height


@dataclass(frozen=True)
class PlaceOfMax(Op):
    """Index of the largest value of each line, the first of equals: (N, C, L) -> (N, C, 1) int64."""

    pattern: ClassVar[Pattern] = "out_elementwise_fusable"
    sort: ClassVar[Sort] = "reductions"
    output_dtype: ClassVar[str] = "int64"

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, _ = inputs[0]
        return batch, channels, 1


class _Indexed:
    """Reads values, and indices into them."""

    def reads(self, place: int) -> str:
        """See ``Op``."""
        return "int64" if place else "float32"


@dataclass(frozen=True)
class TakeRow(_Indexed, Op):
    """One row of each map: (N, C, H, W) and its number (N, C, 1) -> (N, C, W)."""

    pattern: ClassVar[Pattern] = "comm_reduce"
    sort: ClassVar[Sort] = "reductions"
    arity: ClassVar[int | None] = 2

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, _, width = inputs[0]
        _check_indices(inputs)
        return batch, channels, width


@dataclass(frozen=True)
class AroundPeak(_Indexed, Op):
    """Values of each map at a peak and beside it, in the order of ``AROUND``.

    From maps (N, C, H, W), and row and column of a peak of each, (N, C, 1), to (N, C, 5). Beyond an edge it
    is the neighbour on the other side.
    """

    pattern: ClassVar[Pattern] = "comm_reduce"
    sort: ClassVar[Sort] = "reductions"
    arity: ClassVar[int | None] = 3

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, *sides = inputs[0]
        _check_indices(inputs)
        if min(sides) < 2:
            raise InvalidGraph(f"peaks are looked for on maps of 2x2 pixels and more, got {inputs[0]}")
        return batch, channels, len(AROUND)


@dataclass(frozen=True)
class PeakPoints(_Indexed, Op):
    """Points of an image where maps are largest, and how large they are there.

    From what ``AroundPeak`` gives (N, C, 5), and row and column of each peak (N, C, 1), to x, y and the value
    (N, C, 3), float32 whatever the network's type. Between pixels of a map the place is that of the parabola
    through the value and its two neighbours, at most half a pixel away; at an edge it is the pixel itself.

    Attributes:
        stride: pixels of the image that a pixel of a map stands for: its middle is at (i + 1/2) stride - 1/2,
            as bilinear resizing has it.
    """

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "moves"
    arity: ClassVar[int | None] = 3
    output_dtype: ClassVar[str] = "single"
    stride: int = 1

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, count = inputs[0]
        _check_indices(inputs)
        if count != len(AROUND):
            raise InvalidGraph(f"a peak has {len(AROUND)} values around it, got {count}")
        return batch, channels, 3


def _check_indices(inputs: Sequence[Shape]) -> None:
    wanted = (*inputs[0][:2], 1)
    if wrong := [shape for shape in inputs[1:] if tuple(shape) != wanted]:
        raise InvalidGraph(f"indices into maps of {inputs[0]} are {wanted}, got {wrong[0]}")
