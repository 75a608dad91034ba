"""The spaces of FasterSeg (arXiv:1912.10917) as the authors released them: a teacher and its student."""

from search.spaces.fasterseg.grid import FULL, OPERATIONS, SKIP, Grid
from search.spaces.fasterseg.space import FastersegSpace

FASTERSEG = (
    FastersegSpace(
        name="fasterseg-teacher",
        summary="FasterSeg's teacher: 16 layers by 3 scales, 4 operations, full width, two branches",
        grid=Grid(ratio=FULL, widths=(FULL,), operations=tuple(o for o in OPERATIONS if o != SKIP)),
    ),
    FastersegSpace(
        name="fasterseg-student",
        summary="FasterSeg's student: 16 layers by 3 scales, 5 operations, 5 widths, two branches",
        grid=Grid(ratio=8),
    ),
)
