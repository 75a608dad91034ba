"""The report of a profile: its table, what came with it, and what was noted while it was measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_models.cost_model import CostModel
from cost_models.database.history import History
from cost_models.database.records import How
from cost_models.database.store import MeasurementStore
from cost_models.database.table import HEADER, LatencyTable
from cost_models.errors import MissingEntry
from cost_models.estimate import NetworkEstimate, Source
from cost_models.kernel_models.hold_outs import HoldOut
from cost_models.lookup import with_files
from cost_models.network_models.network_model import NetworkModel
from search.architecture import list_architectures, load_architecture
from search.costs.kernel_table import network_graph
from search.data.classes import unnamed
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.document import ProfileDocument
from squeezenas_tvm.profiling.summary import WIDE, chosen_text
from squeezenas_tvm.profiling.time_of_kernels import network_document
from squeezenas_tvm.reports import accuracy as report_accuracy
from squeezenas_tvm.reports.costs import Covered, costs_section, covered, summaries
from squeezenas_tvm.reports.page import (
    NONE,
    Markup,
    PageSection,
    Report,
    bar,
    bullets,
    facts,
    join,
    paragraph,
    table,
)
from squeezenas_tvm.reports.time_of_kernels import network_sections, network_times
from squeezenas_tvm.terminal.progress import duration
from targets.sensors.readings import BoardReading

STORE = "measurements.sqlite"
_AGAIN = "profile again into the same folder: what was measured is kept there and not repeated"
_LISTED = 20  # problems of a sort


@dataclass(frozen=True)
class _Run:
    """What ``profile`` told of one space and size when it ended."""

    name: str
    chosen: str
    tuning: str
    whole_blocks: str
    hold_outs: Mapping[str, HoldOut]


def profile_report(folder: Path) -> Report:
    """Of a folder with ``table.json``; predictor, calibration, store and documents as far as they are there.

    Raises:
        IncompatibleTable, IncompatiblePredictor, IncompatibleNetworkModel, StoreError, UsageError: one of
            them is damaged, of another environment, or of a newer schema.
    """
    latencies = LatencyTable.load(folder)
    fingerprint, model = latencies.fingerprint, with_files(latencies, folder)
    predictor, network_model = model.predictor, model.network_model
    found, runs = covered(latencies, predictor), [_run(path) for path in sorted(folder.glob("*-*x*.json"))]
    estimates = _estimates(model, found)
    hold_outs = {run.name: run.hold_outs for run in runs if run.hold_outs}
    notes, files = _notes(folder, latencies, runs), network_times(folder, latencies, model)
    sections = [
        PageSection("Where and how", _conditions(latencies)),
        PageSection("Networks", _networks(estimates, found, network_model)),
        *(costs_section(one) for one in found),
        *network_sections(files),
        PageSection("Schedules", _schedules(latencies)),
        report_accuracy.accuracy_section(folder, predictor, network_model, hold_outs),
        PageSection("Notes", bullets(notes) or paragraph("Nothing was noted.")),
    ]
    return Report(
        title=f"Profile of {latencies.target}",
        summary=latencies.machine or "measured on an unnamed machine",
        sections=sections,
        document={
            "target": latencies.target,
            "machine": latencies.machine,
            "fingerprint": dict(fingerprint),
            "kernels": len(latencies.rows),
            "how": dict(Counter(row.how for row in latencies.rows.values())),
            "sizes": summaries(found),
            "networks": [_estimate_document(*estimate) for estimate in estimates],
            "files": [network_document(network) for network in files],
            "errors": report_accuracy.document(predictor, network_model),
            "notes": notes,
        },
    )


def _conditions(latencies: LatencyTable) -> Markup:
    known: Mapping[str, Any] = latencies.fingerprint
    names = {
        "device": "Device",
        "cores": "Cores",
        "power_mode": "Power mode",
        "dtype": "Type of values",
        "tvm_version": "TVM",
        "llvm_version": "LLVM",
        "cuda": "CUDA",
        "tvm_target": "TVM target",
        "default_schedules": "Default schedules of generation",
    }
    told = {title: str(known[name]) for name, title in names.items() if known.get(name) is not None}
    others = {name: str(value) for name, value in known.items() if name not in {*names, "measure"}}
    measure = known.get("measure")
    protocol = ", ".join(f"{name} {value}" for name, value in measure.items()) if measure else ""
    measured = {"Target": latencies.target, "Measured on": latencies.machine or "an unnamed machine"}
    kernels = {"Protocol": protocol, "Kernels": str(len(latencies.rows))}
    return facts({**measured, **told, **others, **kernels, "Made by": latencies.made_by})


_Estimate = tuple[str, Covered, NetworkEstimate | None]  # name of an architecture, size, what it takes there


def _estimates(model: CostModel, found: Sequence[Covered]) -> list[_Estimate]:
    """Of the published architectures at every size, whatever space they are of."""
    sizes = {(one.resolution, one.classes): one for one in found}
    estimates: list[_Estimate] = []
    for name in list_architectures():
        for (resolution, classes), one in sizes.items():
            network = load_architecture(name).for_classes(unnamed(classes))
            try:
                total: NetworkEstimate | None = model.network(network_graph(network, resolution))
            except MissingEntry:
                total = None
            estimates.append((name, one, total))
    return estimates


def _networks(estimates: Sequence[_Estimate], found: Sequence[Covered], model: NetworkModel) -> Markup:
    if not estimates:
        return paragraph("No space is measured far enough to tell of networks.")
    sizes = list(dict.fromkeys((str(one.resolution), one.classes) for one in found))
    rows: dict[str, list[str]] = {}
    for name, _, total in estimates:
        cells = [NONE, NONE]
        if total is not None:
            ends = f"({total.low_s * 1e3:.2f} to {total.high_s * 1e3:.2f})"
            cells = [f"{total.median_s * 1e3:.2f} {ends}", f"{total.shares.get(Source.MEASURED, 0):.0%}"]
        rows.setdefault(name, [name]).extend(cells)
    header = ["published network"]
    for resolution, classes in sizes:
        header += [f"ms at {resolution}, {classes} classes", "measured"]
    return join(
        [
            paragraph(
                f"From a camera's frame to class indices, as {model}. In brackets the interval that is meant "
                "to hold nine of ten; beside it the share of the time that measured kernels have, the others "
                "are predicted."
            ),
            table(header, list(rows.values())),
        ]
    )


def _estimate_document(name: str, size: Covered, total: NetworkEstimate | None) -> dict[str, Any]:
    told = {"name": name, "resolution": str(size.resolution), "classes": size.classes}
    if total is None:
        return {**told, "median_ms": None}
    ends = {"median_ms": total.median_s, "low_ms": total.low_s, "high_ms": total.high_s}
    return {**told, **{end: value * 1e3 for end, value in ends.items()}, "sources": dict(total.shares)}


def _schedules(latencies: LatencyTable) -> Markup:
    """How the kernels came to be."""
    rows = list(latencies.rows.values())
    total_s = sum(row.median_s for row in rows) or 1.0
    lines = []
    for how in (How.TUNED, How.TRANSFERRED, How.DEFAULT, How.ESTIMATED):
        own = [row for row in rows if row.how == how]
        share = sum(row.median_s for row in own) / total_s
        wide = sum(row.statistics.width > WIDE for row in own if row.samples_s)
        trials = f"{sum(row.trials for row in own)}"
        lines.append(
            [how, bar(len(own) / len(rows), str(len(own))), bar(share, f"{share:.0%}"), trials, f"{wide}"]
        )
    header = ["fastest schedule", "kernels", "of their time", "trials", f"interval wider than {WIDE:.0%}"]
    return join(
        [
            table(header, lines),
            paragraph(
                "Tuned: found by a search of that kernel. Transferred: a similar kernel's, fitted to its "
                "sizes. Default: what needs no search, and beat what was tried. Estimated: no schedule works."
            ),
        ]
    )


def _run(path: Path) -> _Run:
    told = ProfileDocument.load(path)
    ratios = told.additivity.ratios if told.additivity else {}
    return _Run(
        name=f"{told.space} at {told.resolution}",
        chosen=" ".join(chosen_text(told.chosen)),
        tuning=f"{told.tuning.trials} trials ({told.tuning.valid} valid) in {duration(told.tuning.wall_s)}",
        whole_blocks="; ".join(f"{cache} caches {ratio}" for cache, ratio in ratios.items() if ratio),
        hold_outs=told.predictor.hold_outs if told.predictor else {},
    )


def _notes(folder: Path, latencies: LatencyTable, runs: Sequence[_Run]) -> list[str]:
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
    return notes + (_timings(folder / STORE, latencies.fingerprint) if (folder / STORE).exists() else [])


def _board(board: Mapping[str, Any]) -> str:
    before, after = (BoardReading(**board[when]) if board[when] else None for when in ("before", "after"))
    return f"Board {board['name']}: at first {before or 'silent'}; at last {after or 'silent'}."


def _timings(path: Path, fingerprint: Mapping[str, Any]) -> list[str]:
    """What the store knows beyond the table: disturbances and failures."""
    with MeasurementStore.open(path, create=False) as store:
        history = History.of(store, fingerprint)
        timings = store.measurements(history.environment).values()
    failed = [timing for timing in timings if timing.error is not None]
    disturbed = [timing for timing in timings if timing.disturbed]
    notes = [f"{len(timings)} careful timings, {len(disturbed)} disturbed, {len(failed)} failed."]
    notes += [f"Failed: {timing.kernel}: {timing.error}" for timing in failed[:_LISTED]]
    said = Counter(note for timing in disturbed for note in timing.notes)
    return notes + [f"{note} ({count} times)" for note, count in said.most_common(_LISTED)]
