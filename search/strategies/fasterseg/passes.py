"""The passes through a grid's supernet that a step sums the losses of: who walks, and how wide."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from search.supernet.fasterseg.supernet import GridSupernet
from search.supernet.fasterseg.widths import MapWidths

TEACHER, STUDENT = "teacher", "student"


@dataclass(frozen=True)
class Pass:
    """One pass.

    Attributes:
        learner: whose stem, heads and logits it takes.
        paid: whether its latency is charged.
    """

    learner: str
    widths: MapWidths
    paid: bool = False


def pretraining_passes(supernet: GridSupernet, generator: torch.Generator) -> Sequence[Pass]:
    """The teacher, and the student at its widest, at its narrowest and twice at random.

    The authors' code leaves out the student's own stem and heads here, which its search then begins without.
    """
    grid = supernet.learner(STUDENT).grid
    widths = [MapWidths.fixed(grid, grid.widths[-1]), MapWidths.fixed(grid, grid.widths[0])]
    widths += [MapWidths.random(grid, generator) for _ in range(2)]
    return [_teacher(supernet), *(Pass(STUDENT, own) for own in widths)]


def search_passes(supernet: GridSupernet, generator: torch.Generator) -> Sequence[Pass]:
    """The teacher, and the student as drawn from its logits, at its widest and at its narrowest."""
    student = supernet.learner(STUDENT)
    drawn = MapWidths.drawn(student.grid, list(student.ratio), generator)
    ends = (student.grid.widths[-1], student.grid.widths[0])
    fixed = (Pass(STUDENT, MapWidths.fixed(student.grid, width)) for width in ends)
    return [_teacher(supernet), Pass(STUDENT, drawn, paid=True), *fixed]


def likeliest_widths(supernet: GridSupernet, learner: str) -> MapWidths:
    """Those that networks are derived with."""
    own = supernet.learner(learner)
    best = [ratio.argmax(-1).tolist() for ratio in own.ratio]
    known = MapWidths.fixed(own.grid, own.grid.ratio).twelfths
    return MapWidths({(i, j): own.grid.widths[best[j][i - 1 - (j == 2)]] for i, j in known})


def _teacher(supernet: GridSupernet) -> Pass:
    grid = supernet.learner(TEACHER).grid
    return Pass(TEACHER, MapWidths.fixed(grid, grid.widths[-1]))
