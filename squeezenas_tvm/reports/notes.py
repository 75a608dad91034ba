"""What was noted while a profile was measured: one sentence and a bar, and the rest when it is asked for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_models.database.history import History
from cost_models.database.records import How
from cost_models.database.store import MeasurementStore
from cost_models.database.table import HEADER, LatencyTable
from cost_models.kernel_models.hold_outs import HoldOut
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.document import ProfileDocument
from squeezenas_tvm.profiling.summary import chosen_text
from squeezenas_tvm.reports.page import Markup, bullets, folded, join, paragraph, shares
from squeezenas_tvm.terminal.progress import duration
from targets.sensors.readings import BoardReading

STORE = "measurements.sqlite"
_AGAIN = "profile again into the same folder: what was measured is kept there and not repeated"
_LISTED = 20  # problems of a sort


@dataclass(frozen=True)
class ProfileRun:
    """What ``profile`` told of one space and size when it ended."""

    name: str
    chosen: str
    tuning: str
    whole_blocks: str
    hold_outs: Mapping[str, HoldOut]


@dataclass(frozen=True)
class Timings:
    """Careful timings of a store: how many were as they should be, disturbed, and failed.

    Attributes:
        lines: what was said of them.
    """

    good: int
    disturbed: int
    failed: int
    lines: Sequence[str]

    def __str__(self) -> str:
        total = self.good + self.disturbed + self.failed
        return f"{total} careful timings, {self.disturbed} disturbed, {self.failed} failed."


@dataclass(frozen=True)
class Notes:
    """Of a profile.

    Attributes:
        told: of its runs, kernels and boards.
        timings: None where there is no store.
    """

    told: Sequence[str]
    timings: Timings | None

    @property
    def lines(self) -> list[str]:
        """All of it."""
        own = [str(self.timings), *self.timings.lines] if self.timings else []
        return [*self.told, *own]

    def shown(self) -> Markup:
        """For a page."""
        if not self.lines:
            return paragraph("Nothing was noted.")
        top: list[Markup] = []
        if self.timings is not None:
            own = self.timings
            parts = [("undisturbed", own.good), ("disturbed", own.disturbed), ("failed", own.failed)]
            top += [paragraph(str(own)), shares(parts)]
        rest = [*self.told, *(self.timings.lines if self.timings else [])]
        if rest:
            top.append(folded("One note" if len(rest) == 1 else f"All {len(rest)} notes", bullets(rest)))
        return join(top)


def told_runs(folder: Path) -> list[ProfileRun]:
    """What each run told. Raises UsageError where a document is damaged."""
    return [_run(path) for path in sorted(folder.glob("*-*x*.json"))]


def _run(path: Path) -> ProfileRun:
    told = ProfileDocument.load(path)
    ratios = told.additivity.ratios if told.additivity else {}
    return ProfileRun(
        name=f"{told.space} at {told.resolution}",
        chosen=" ".join(chosen_text(told.chosen)),
        tuning=f"{told.tuning.trials} trials ({told.tuning.valid} valid) in {duration(told.tuning.wall_s)}",
        whole_blocks="; ".join(f"{cache} caches {ratio}" for cache, ratio in ratios.items() if ratio),
        hold_outs=told.predictor.hold_outs if told.predictor else {},
    )


def profile_notes(folder: Path, latencies: LatencyTable, runs: Sequence[ProfileRun]) -> Notes:
    """Raises UsageError, StoreError where a file is damaged."""
    notes = [f"{run.name}: {run.tuning}." for run in runs]
    notes += [f"{run.name}: {run.chosen}" for run in runs if run.chosen]
    notes += [
        f"{run.name}: whole blocks over the sum of their kernels: {run.whole_blocks}."
        for run in runs
        if run.whole_blocks
    ]
    for key, row in latencies.rows.items():
        if row.how == How.ESTIMATED:
            notes.append(f"Estimated, no schedule works: {key}: {row.reason}")
    try:
        notes += [_board(board) for board in latencies.boards]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder / HEADER}: boards are not what profile writes ({error!r}); {_AGAIN}"
        ) from None
    stored = (folder / STORE).exists()
    return Notes(notes, _timings(folder / STORE, latencies.fingerprint) if stored else None)


def _board(board: Mapping[str, Any]) -> str:
    before, after = (BoardReading(**board[when]) if board[when] else None for when in ("before", "after"))
    return f"Board {board['name']}: at first {before or 'silent'}; at last {after or 'silent'}."


def _timings(path: Path, fingerprint: Mapping[str, Any]) -> Timings:
    """What the store knows beyond the table: disturbances and failures."""
    with MeasurementStore.open(path, create=False) as store:
        history = History.of(store, fingerprint)
        timings = store.measurements(history.environment).values()
    failed = [timing for timing in timings if timing.error is not None]
    disturbed = [timing for timing in timings if timing.disturbed]
    lines = [f"Failed: {timing.kernel}: {timing.error}" for timing in failed[:_LISTED]]
    said = Counter(note for timing in disturbed for note in timing.notes)
    lines += [f"{note} ({count} times)" for note, count in said.most_common(_LISTED)]
    good = sum(timing.error is None and not timing.disturbed for timing in timings)
    return Timings(good, len(disturbed), len(failed), lines)
