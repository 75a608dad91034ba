"""The spaces of FasterSeg (arXiv:1912.10917) as the authors released them, and the same of other sizes."""

from dataclasses import replace
from functools import cache
from typing import Any

from search.errors import InvalidArchitecture, UnknownSpace
from search.spaces.fasterseg.grid import FULL, OPERATIONS, SKIP, Grid
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.sizes import read_sizes, sized_name

_TEACHER = FastersegSpace(
    name="fasterseg-teacher",
    summary="FasterSeg's teacher: 16 layers by 3 scales, 4 operations, full width, two branches",
    grid=Grid(ratio=FULL, widths=(FULL,), operations=tuple(o for o in OPERATIONS if o != SKIP)),
)
_STUDENT = FastersegSpace(
    name="fasterseg-student",
    summary="FasterSeg's student: 16 layers by 3 scales, 5 operations, 5 widths, two branches",
    grid=Grid(ratio=8),
)
FASTERSEG = (_TEACHER, _STUDENT)
SIZES = {"layers": 48, "base": 48, "ratio": FULL}
"""Of a grid, what a space's name may say otherwise (``fasterseg-student:layers=8,base=3``), and the most."""


def sized(space: FastersegSpace, sizes: str) -> FastersegSpace:
    """A space of another size.

    Args:
        sizes: ``layers=8,base=3``; what is left out stays. They become part of the name, in a fixed order.

    Raises UnknownSpace where they are none, or the grid takes no such.
    """
    found: dict[str, Any] = {**read_sizes(space.name, sizes, SIZES, "layers=8,base=3")}
    try:
        return _of(space, replace(space.grid, **found))
    except InvalidArchitecture as error:
        raise UnknownSpace(f"space {space.name}:{sizes}: {error}") from None


@cache
def _of(space: FastersegSpace, grid: Grid) -> FastersegSpace:
    """Kept, with all that it comes to know of itself."""
    name = sized_name(space.name, _sizes(space.grid), _sizes(grid))
    if name == space.name:
        return space
    summary = space.summary.replace(f"{space.grid.layers} layers", f"{grid.layers} layers")
    return FastersegSpace(name=name, summary=f"{summary}, base {grid.base}", grid=grid)


def _sizes(grid: Grid) -> dict[str, int]:
    return {name: getattr(grid, name) for name in SIZES}


def teacher_of(space: FastersegSpace) -> FastersegSpace:
    """The teacher's space over the same cells."""
    return sized(_TEACHER, f"layers={space.grid.layers},base={space.grid.base}")
