"""What a table says of one space at one size: C(position, candidate), and the kernels that take the time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cost_models.database.rows import SampleStatistics
from cost_models.database.table import LatencyTable
from cost_models.estimate import LatencySource
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.roofline import PhysicalModel
from search.costs.kernel_table import CostTable, cost_table, known_kernels, part_kernels
from search.resolution import Resolution
from search.spaces.camera import HEADS
from search.spaces.registry import spaces_of_table
from search.spaces.space import Head, SearchSpace, uniform
from squeezenas_tvm.profiling.summary import EXTREMES, extremes_cells
from squeezenas_tvm.reports.page import (
    NONE,
    Heat,
    Markup,
    PageSection,
    bar,
    element,
    heat_map,
    join,
    paragraph,
)
from squeezenas_tvm.reports.page import table as html_table
from squeezenas_tvm.reports.rooflines import PlacedKernel, roofline

_SHOWN = 15  # kernels that are listed
_FALLS_TO = 0.02  # of the dearest entry: palest shade


@dataclass(frozen=True)
class Covered:
    """A space at a size, as far as a table has it.

    Attributes:
        calls: how often each of its kernels runs in a network whose candidates are all as likely.
        predictor: of kernels that were not measured.
    """

    table: LatencyTable
    space: SearchSpace
    resolution: Resolution
    classes: int
    task: str
    calls: Mapping[Kernel, float]
    predictor: LatencySource | None = None

    def __str__(self) -> str:
        outputs = {"segmentation": f"{self.classes} classes", "pose": f"{self.classes} key points"}
        return f"{self.space.name} at {self.resolution}, {outputs.get(self.task, self.task)}"

    @property
    def measured(self) -> list[Kernel]:
        """Its kernels that have samples."""
        rows = self.table.rows
        return [kernel for kernel in self.calls if kernel.key in rows and rows[kernel.key].samples_s]

    @cached_property
    def known(self) -> dict[Kernel, SampleStatistics]:
        """Its kernels that are measured, estimated or predicted."""
        known = known_kernels(self.table, self.calls, self.predictor)
        return {kernel: entry for kernel, entry in known.items() if entry is not None}

    @cached_property
    def model(self) -> PhysicalModel | None:
        """The best rates that its kernels reached; None where none is measured."""
        measured = self.measured
        if not measured:
            return None
        return PhysicalModel.fit(measured, [self.known[kernel].median_s for kernel in measured])

    @cached_property
    def spent_s(self) -> Mapping[Kernel, float]:
        """Seconds of each known kernel in a network whose candidates are all as likely."""
        return {kernel: self.calls[kernel] * entry.median_s for kernel, entry in self.known.items()}

    @cached_property
    def costs(self) -> CostTable:
        head = HEADS[self.task](self.classes)
        return cost_table(self.table, self.space, self.resolution, head, self.predictor)

    def mean_s(self) -> float | None:
        """Plain sum of a network whose options are all as likely; None where something is missing."""
        entries = {f"{slot}.{o}": e for slot, row in self.costs.slots.items() for o, e in row.items()}
        entries |= dict(self.costs.fixed)
        chances = self.space.marginals(uniform(self.space))
        known_s = {name: entry.median_s for name, entry in entries.items() if entry}
        if len(known_s) < len(entries):
            return None
        return sum(float(chances.get(name, 1.0)) * seconds for name, seconds in known_s.items())


def covered(table: LatencyTable, predictor: LatencySource | None = None) -> list[Covered]:
    """What was profiled and has rows for at least half of its kernels; the smallest size first.

    Args:
        predictor: of the table; with it, a space that the table names needs no more rows than were asked for.
    """
    found: dict[tuple[str, str, int, str], Covered] = {}
    for one in table.profiled:
        if one.outputs is None or one.task not in HEADS:
            continue
        resolution = Resolution.parse(one.resolution)
        for space in spaces_of_table(one.space):
            calls = _calls(space, resolution, HEADS[one.task](one.outputs))
            told = predictor if one.space else None
            if told or 2 * sum(kernel.key in table.rows for kernel in calls) >= len(calls):
                what = space.name, one.resolution, one.outputs, one.task
                found.setdefault(what, Covered(table, space, resolution, one.outputs, one.task, calls, told))
    some = [one for one in found.values() if 2 * _known(one.costs) >= sum(map(len, one.costs.blocks))]
    return sorted(some, key=_size)


def _size(one: Covered) -> tuple[int, ...]:
    height, width = one.resolution
    return height * width, one.classes, height, width


def _known(costs: CostTable) -> int:
    return sum(entry is not None for row in costs.blocks for entry in row.values())


def _calls(space: SearchSpace, resolution: Resolution, head: Head) -> dict[Kernel, float]:
    calls: dict[Kernel, float] = {}
    chances = space.marginals(uniform(space))
    parts = list(space.parts(resolution, head))
    for part, kernels in zip(parts, part_kernels(parts), strict=True):
        for kernel in kernels:
            calls[kernel] = calls.get(kernel, 0.0) + float(chances.get(part.name, 1.0))
    return calls


def costs_section(found: Covered) -> PageSection:
    """Heat map, what is around the blocks, the kernels that take most of the time."""
    mean_s = found.mean_s()
    mean = (
        ""
        if mean_s is None
        else f" A network whose candidates are all as likely adds up to {_ms(mean_s)} ms."
    )
    missing = len(found.calls) - len(found.measured)
    holes = f" {NONE}: not measured." if missing else ""
    if found.costs.predicted:
        holes = f" {missing} kernels are predicted; ~: some kernels of an entry are."
    fixed = [f"{name} {_entry(entry)}" for name, entry in found.costs.fixed.items()]
    content = [
        paragraph(
            f"{len(found.measured)} of {len(found.calls)} kernels measured.{mean} Medians in ms, the sum of "
            f"a block's kernels, each timed alone; the bluer, the slower.{holes}"
        ),
        _heat(found.costs, found.space),
        paragraph(f"Around the blocks, in ms: {', '.join(fixed)}."),
        element("h3", "Kernels under their roofs"),
        _roofline(found),
        element("h3", "Kernels that take most of its time"),
        _kernels(found),
    ]
    return PageSection(str(found), join(content))


def _heat(costs: CostTable, space: SearchSpace) -> Markup:
    if (extremes := costs.extremes()) is not None:
        rows = [[space.slot_label(own.slot), *extremes_cells(own)] for own in extremes]
        return html_table(["position", *EXTREMES], rows)
    names = costs.options
    largest = max((e.median_s for row in costs.blocks for e in row.values() if e), default=0.0)
    cells = {}
    for slot, row in costs.slots.items():
        own = [_cell(row.get(name), largest, offered=name in row) for name in names]
        cells[space.slot_label(slot)] = own
    return heat_map("position", names, cells)


def _cell(entry: SampleStatistics | None, largest: float, *, offered: bool) -> Heat:
    if entry is None:
        return Heat(NONE if offered else "")
    least = largest * _FALLS_TO
    shade = math.log(max(entry.median_s, least) / least) / -math.log(_FALLS_TO) if largest else 0.0
    return Heat(_entry(entry), shade)


def _entry(entry: SampleStatistics | None) -> str:
    """In ms; with a star where a part of it is an estimate, for want of a schedule that works."""
    if entry is None or not entry.kernels:
        return NONE if entry is None else "0"
    return "~" * bool(entry.predicted) + _ms(entry.median_s) + "*" * bool(entry.estimated)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def _roofline(found: Covered) -> Markup:
    if found.model is None:
        return paragraph("None is measured.")
    total_s = sum(found.spent_s.values())
    placed = [
        PlacedKernel(
            name=kernel.label,
            kind=kernel.kind,
            macs=kernel.macs,
            bytes_moved=kernel.bytes_moved,
            seconds=entry.median_s,
            calls=found.calls[kernel],
            share=found.spent_s[kernel] / total_s,
            how=_how(found, kernel),
        )
        for kernel, entry in found.known.items()
    ]
    return roofline(placed, found.model, "a network's")


def _how(found: Covered, kernel: Kernel) -> str:
    row = found.table.rows.get(kernel.key)
    return str(row.how) if row else "predicted"


def _kernels(found: Covered) -> Markup:
    rows, kernels, model, spent_s = found.table.rows, [*found.known], found.model, found.spent_s
    if model is None:
        return paragraph("None is measured.")
    total_s = sum(spent_s.values())
    ranked = sorted(kernels, key=lambda kernel: -spent_s[kernel])[:_SHOWN]
    lines = []
    for kernel in ranked:
        row, median_s = rows.get(kernel.key), found.known[kernel].median_s
        reached = model.bound_s(kernel) / median_s
        lines.append(
            [
                *(kernel.label, bar(spent_s[kernel] / total_s, f"{spent_s[kernel] / total_s:.1%}")),
                *(f"{found.calls[kernel]:.2f}", _entry(found.known[kernel])),
                *(f"{found.known[kernel].width:.1%}", f"{kernel.macs / median_s / 1e9:.1f}"),
                *(bar(reached, f"{reached:.0%}"), _how(found, kernel)),
                str(row.trials if row else 0),
            ]
        )
    share = sum(spent_s[kernel] for kernel in ranked) / total_s
    header = [
        "kernel",
        "of the time",
        "calls",
        "ms",
        "± interval",
        "GMAC/s",
        "of the roofline",
        "how",
        "trials",
    ]
    return join(
        [
            html_table(header, lines),
            paragraph(
                f"{len(ranked)} of {len(kernels)} kernels, {share:.0%} of the time of a network whose "
                "candidates are all as likely; calls: in that network; interval: width of the 95 % interval "
                "of the median, of predicted ones of that which holds nine of ten. The roofline is made of "
                "the best rates that kernels of the same kind reached here, so 100 % is the best seen, not "
                "the best possible."
            ),
        ]
    )


def summaries(found: Sequence[Covered]) -> list[dict[str, object]]:
    """For JSON."""
    return [
        {
            "space": one.space.name,
            "resolution": str(one.resolution),
            "classes": one.classes,
            "kernels": len(one.calls),
            "measured": len(one.measured),
            "mean_ms": None if (mean_s := one.mean_s()) is None else mean_s * 1e3,
        }
        for one in found
    ]
