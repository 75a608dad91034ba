"""What ``profile`` writes and shows: latencies of blocks, how sure they are, how well predicted."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cost_models.database.rows import Row, SampleStatistics
from cost_models.database.table import LatencyTable
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.predictor import LEAST_KERNELS
from cost_models.network_models.network_model import NetworkModel
from cost_models.runner.module_runner import CACHES
from search.costs.kernel_table import CostTable, Extremes, cost_table
from search.resolution import Resolution
from search.spaces.camera import HEADS
from search.spaces.space import SearchSpace
from squeezenas_tvm.profiling.document import Chosen, ProfileDocument
from squeezenas_tvm.profiling.fit_predictor import SEED
from squeezenas_tvm.profiling.measure import PARTS, Measured
from squeezenas_tvm.terminal.progress import duration
from squeezenas_tvm.terminal.table import table
from targets.sensors.readings import BoardReading

WIDE = 0.05
MARKED = " (~: some of its kernels are predicted)"
EXTREMES = ("options", "fastest, ms", "which", "middle, ms", "slowest, ms", "which")
ERRORS = ("MAPE %", "% within 5 %", "% within 10 %", "Spearman", "% inside interval")
LEFT_OUT = {
    "random": "random fifths",
    "resolution": "a resolution",
    "channels": "a channel count",
    "window": "a window or dilation",
}


@dataclass(frozen=True)
class Profile:
    """A profile of a space on a target; made by `summarize`.

    Attributes:
        measured: the table, and how it came to be.
        kernels: of the space.
        costs: latency of every candidate at every position, C(position, candidate), and of the rest.
        folder: of the table, the raw samples and this document.
        task: what the heads of its networks are for.
    """

    measured: Measured
    kernels: Sequence[Kernel]
    space: SearchSpace
    resolution: Resolution
    costs: CostTable
    folder: Path
    task: str = "segmentation"

    @property
    def table(self) -> LatencyTable:
        """SampleStatistics of every kernel that was ever measured there."""
        return self.measured.table

    @property
    def path(self) -> Path:
        """Of the document."""
        return self.folder / file_of(self.space, self.resolution, self.task)

    @property
    def holes(self) -> list[str]:
        """Blocks and other parts with a kernel that could not be measured; empty when all is there."""
        return [name for name, entry in self._entries().items() if entry is None]

    def document(self) -> ProfileDocument:
        """What is kept of it beside the table."""
        measured = self.measured
        told = {
            "schema_version": ProfileDocument.SCHEMA,
            "made_by": "squeezenas_tvm profile",
            "target": measured.table.target,
            "space": self.space.name,
            "resolution": str(self.resolution),
            "blocks": [{name: _entry(e) for name, e in row.items()} for row in self.costs.blocks],
            "fixed": {name: _entry(e) for name, e in self.costs.fixed.items()},
            "missing": self.holes,
            "kernels": quality(self._rows()),
            "chosen": self._chosen(),
            "estimated": dict(measured.problems),
            "tuning": measured.tuning,
            "additivity": measured.additivity.document() if measured.additivity else None,
            "boards": list(measured.table.boards),
            "predictor": _predictor(measured),
            "networks": _networks(measured),
            "folder": str(self.folder),
        }
        return ProfileDocument.model_validate(told)

    def text(self) -> str:
        """For people."""
        measured = self.measured
        lines = [_costs_text(self.costs, self.holes), ""]
        lines += [*chosen_text(self._chosen()), *quality_text(quality(self._rows()), measured)]
        lines += ["", *_predictor_text(measured)]
        samples = self.folder / "measurements.sqlite"
        lines += [*network_errors_text(measured), "", f"Table: {self.path} (raw samples: {samples})"]
        return "\n".join(lines)

    def _entries(self) -> dict[str, SampleStatistics | None]:
        blocks = {f"{i}/{name}": e for i, row in enumerate(self.costs.blocks) for name, e in row.items()}
        return blocks | dict(self.costs.fixed)

    def _rows(self) -> list[Row]:
        rows = self.measured.table.rows
        return [rows[kernel.key] for kernel in self.kernels if kernel.key in rows]

    def _chosen(self) -> Chosen | None:
        """How many kernels are measured and predicted; None where all were to be measured."""
        if not self.measured.predicted:
            return None
        total, measured = len(self.kernels), sum(bool(row.samples_s) for row in self._rows())
        told = total - len(self._rows()) if self.measured.predictor else 0
        return Chosen(total=total, measured=measured, predicted=told, left_out=self.measured.left_out)


def file_of(space: SearchSpace, resolution: Resolution, task: str) -> str:
    """Name of the document of a profile."""
    return f"{space.name}-{resolution}{'' if task == 'segmentation' else f'-{task}'}.json"


def summarize(
    measured: Measured,
    kernels: Sequence[Kernel],
    space: SearchSpace,
    resolution: Resolution,
    classes: int,
    folder: Path,
    task: str = "segmentation",
) -> Profile:
    """Compose the latencies of blocks, and write the document of the profile beside its table."""
    head, predictor = HEADS[task](classes), measured.predictor if measured.predicted else None
    costs = cost_table(measured.table, space, resolution, head, predictor)
    profile = Profile(measured, kernels, space, resolution, costs, folder, task)
    profile.document().save(profile.path)
    return profile


def quality(rows: Sequence[Row]) -> dict[str, Any]:
    """How the rows came to be, and how sure they are."""
    widths = [row.statistics.width for row in rows if row.samples_s]
    return {
        "count": len(rows),
        "how": dict(Counter(row.how for row in rows)),
        "share_wider_than_5_percent": sum(width > WIDE for width in widths) / max(len(widths), 1),
    }


def chosen_text(chosen: Chosen | None) -> list[str]:
    """One line on what was measured and predicted, one on how well that goes; none where all was measured."""
    if chosen is None:
        return []
    lines = [f"{chosen.measured} of {chosen.total} kernels measured, {chosen.predicted} predicted."]
    if errors := chosen.left_out:
        lines.append(
            f"Left-out kernels: {round(errors.within_10 * errors.count)} of {errors.count} within 10 %, "
            f"median error {100 * errors.median:.1f} %, {100 * errors.coverage:.0f} % inside their interval."
        )
    return lines


def quality_text(quality: dict[str, Any], measured: Measured) -> list[str]:
    how = ", ".join(f"{count} {name}" for name, count in sorted(quality["how"].items()))
    share = quality["share_wider_than_5_percent"]
    lines = [
        f"{quality['count']} kernels: {how}; 95 % interval wider than {100 * WIDE:g} %: {share:.1%} of them."
    ]
    tuning = measured.tuning
    if tuning["trials"]:
        parts = ", ".join(f"{part} {tuning[f'{part}_s']:.0f} s" for part in PARTS)
        lines.append(
            f"{tuning['trials']} trials ({tuning['valid']} valid) in {duration(tuning['wall_s'])}, "
            f"{tuning['trials_per_minute']:.0f} a minute; side by side: {parts}."
        )
    for key, reason in measured.problems.items():
        lines.append(f"Estimated, no schedule works: {key}: {reason}")
    for board in measured.table.boards:
        if board["before"]:
            before, after = (BoardReading(**board[when]) for when in ("before", "after"))
            lines.append(f"Board {board['name']}: at first {before}; at last {after}.")
    if measured.additivity is not None:
        ratios = {cache: measured.additivity.ratio(cache) for cache in CACHES}
        if said := "; ".join(f"{cache} caches {ratio}" for cache, ratio in ratios.items() if ratio):
            lines.append(f"Whole blocks over the sum of their kernels: {said}.")
    return lines


def _predictor(measured: Measured) -> dict[str, Any] | None:
    """What is known of the predictor; None where there is none."""
    if measured.predictor is None:
        return None
    return {
        "kernels": dict(measured.predictor.counts),
        "families_left_out": dict(measured.predictor.errors),
        "hold_outs": {split: asdict(found) for split, found in measured.hold_outs.items()},
        "seed": SEED,
    }


def _predictor_text(measured: Measured) -> list[str]:
    if measured.predictor is None:
        return [
            f"No predictor of other kernels: it needs {LEAST_KERNELS} measured ones. Profile more of them."
        ]
    rows = []
    for split, found in measured.hold_outs.items():
        rows.append(error_cells(LEFT_OUT[split], found.overall))
        if split == "random":
            rows += [error_cells(f"  {kind}", errors) for kind, errors in found.by_kind.items()]
    head = ["left out", "kernels", *ERRORS]
    some = [
        f"{len(found.groups)} of {found.possible} groups of {split} ({', '.join(found.groups)})"
        for split, found in measured.hold_outs.items()
        if len(found.groups) < found.possible
    ]
    lines = [
        "Predictor of other kernels, tried on those that were left out of its fit:",
        "",
        table(head, rows),
    ]
    return lines + ([f"Left out, chosen by seed {SEED}: {'; '.join(some)}."] if some else [])


def _networks(measured: Measured) -> dict[str, Any] | None:
    """How well networks timed whole are told by the others, and by plain sums; None where too few were."""
    model = measured.network_model
    if model is None or model.errors is None or model.plain_errors is None:
        return None
    return {
        "left_out": asdict(model.errors),
        "plain_sums": asdict(model.plain_errors),
        "origin": model.origin,
    }


def network_errors_text(measured: Measured) -> list[str]:
    model = measured.network_model
    if model is None or model.errors is None or model.plain_errors is None:
        return []
    head = ["", "networks", *ERRORS]
    return ["", f"Networks ({model.origin}):", "", table(head, network_errors(model))]


def network_errors(model: NetworkModel) -> list[list[str]]:
    """Rows on networks timed whole; none where too few were."""
    if model.errors is None or model.plain_errors is None:
        return []
    rows = [
        error_cells("estimates, each left out", model.errors),
        error_cells("plain sums of kernels", model.plain_errors),
    ]
    if model.files and model.files.errors and model.files.plain_errors:
        rows += [
            error_cells("of files, each left out", model.files.errors),
            error_cells("plain sums of their kernels", model.files.plain_errors),
        ]
    return rows


def error_cells(name: str, errors: Errors) -> list[str]:
    """A row of a table of errors: what was left out, how many, then as in ``ERRORS``."""
    shares = [f"{100 * share:.1f}" for share in (errors.mape, errors.within_5, errors.within_10)]
    return [name, f"{errors.count}", *shares, f"{errors.spearman:.3f}", f"{100 * errors.coverage:.0f}"]


def _entry(found: SampleStatistics | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "median_ms": found.median_s * 1e3,
        "low_ms": found.p10_s * 1e3,
        "high_ms": found.p90_s * 1e3,
        "samples": found.samples,
        "kernels": found.kernels,
        "tuned_kernels": found.tuned,
        "estimated_kernels": found.estimated,
        "predicted_kernels": found.predicted,
        "interval_ms": found.interval_s * 1e3 if math.isfinite(found.interval_s) else None,
    }


def _costs_text(costs: CostTable, holes: list[str]) -> str:
    if (extremes := costs.extremes()) is not None:
        header = ["", *EXTREMES]
        rows = [[own.slot, *extremes_cells(own)] for own in extremes]
    else:
        header = ["", *(names := costs.options)]
        rows = [
            [str(index), *(_milliseconds(row.get(name)) for name in names)]
            for index, row in enumerate(costs.blocks)
        ]
    fixed = ", ".join(f"{n} {_milliseconds(e)}" for n, e in costs.fixed.items())
    lines = [
        f"Median latency in ms by position and candidate{MARKED if costs.predicted else ''}:",
        "",
        table(header, rows),
        "",
        f"Around them: {fixed}",
    ]
    if holes:
        lines.append(
            f"Not measured ({len(holes)}): {', '.join(holes[:6])}; the same command tries the rest again."
        )
    return "\n".join(lines)


def extremes_cells(own: Extremes) -> list[str]:
    """As ``EXTREMES`` has columns."""
    least, middle, most = map(_milliseconds, own.ends)
    return [str(own.options), least, own.fastest, middle, most, own.slowest]


def _milliseconds(latency: SampleStatistics | None) -> str:
    """``~`` where a part of it is predicted."""
    return "-" if latency is None else "~" * bool(latency.predicted) + f"{latency.median_s * 1e3:.3f}"
