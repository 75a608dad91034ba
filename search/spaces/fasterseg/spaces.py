"""The spaces of FasterSeg (arXiv:1912.10917) as the authors released them, and the same of other sizes."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

from search.errors import InvalidArchitecture, UnknownSpace
from search.spaces.fasterseg.grid import FULL, OPERATIONS, SKIP, Grid
from search.spaces.fasterseg.space import FastersegSpace
from targets.support.text import near_miss

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
    example = f"{space.name}:layers=8,base=3"
    found: dict[str, Any] = {}
    for part in sizes.split(","):
        name, _, number = part.partition("=")
        known = name in SIZES and name not in found and re.fullmatch(r"[0-9]{1,4}", number)
        if not known or int(number) > SIZES[name]:
            most = ", ".join(f"{own} up to {most}" for own, most in SIZES.items())
            raise UnknownSpace(
                f"space {space.name}:{sizes}: {part!r} is no size{near_miss(name, SIZES)}; allowed: {most}, "
                f"each once, such as {example}"
            )
        found[name] = int(number)
    try:
        return _of(space, replace(space.grid, **found))
    except InvalidArchitecture as error:
        raise UnknownSpace(f"space {space.name}:{sizes}: {error}") from None


@cache
def _of(space: FastersegSpace, grid: Grid) -> FastersegSpace:
    """Kept, with all that it comes to know of itself."""
    other = {name: getattr(grid, name) for name in SIZES if getattr(grid, name) != getattr(space.grid, name)}
    if not other:
        return space
    told = ",".join(f"{name}={value}" for name, value in other.items())
    summary = space.summary.replace(f"{space.grid.layers} layers", f"{grid.layers} layers")
    return FastersegSpace(name=f"{space.name}:{told}", summary=f"{summary}, base {grid.base}", grid=grid)


def teacher_of(space: FastersegSpace) -> FastersegSpace:
    """The teacher's space over the same cells."""
    return sized(_TEACHER, f"layers={space.grid.layers},base={space.grid.base}")
