"""The report of a profile: its table, what came with it, and what was noted while it was measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cost_models.database.records import How
from cost_models.database.table import LatencyTable
from cost_models.kernel_models.predictor import Predictor
from cost_models.lookup import with_files
from cost_models.network_models.network_model import NetworkModel
from squeezenas_tvm.profiling.summary import WIDE
from squeezenas_tvm.profiling.time_of_kernels import network_document
from squeezenas_tvm.reports import accuracy as report_accuracy
from squeezenas_tvm.reports.costs import Covered, costs_section, covered, summaries
from squeezenas_tvm.reports.networks import estimated, networks
from squeezenas_tvm.reports.notes import profile_notes, told_runs
from squeezenas_tvm.reports.page import Markup, PageSection, Report, bar, facts, join, paragraph, table
from squeezenas_tvm.reports.time_of_kernels import network_sections, network_times


def profile_report(folder: Path) -> Report:
    """Of a folder with ``table.json``; predictor, calibration, store and documents as far as they are there.

    Raises:
        IncompatibleTable, IncompatiblePredictor, IncompatibleNetworkModel, StoreError, UsageError: one of
            them is damaged, of another environment, or of a newer schema.
    """
    latencies = LatencyTable.load(folder)
    fingerprint, model = latencies.fingerprint, with_files(latencies, folder)
    predictor, network_model = model.predictor, model.network_model
    found, runs = covered(latencies, predictor), told_runs(folder)
    estimates = estimated(model, found)
    hold_outs = {run.name: run.hold_outs for run in runs if run.hold_outs}
    notes, files = profile_notes(folder, latencies, runs), network_times(folder, latencies, model)
    sections = [
        PageSection("Networks", networks(estimates, model, network_model)),
        *(costs_section(one) for one in found),
        *network_sections(files),
        PageSection("Schedules", _schedules(latencies)),
        report_accuracy.accuracy_section(folder, predictor, network_model, hold_outs),
        PageSection("Where and how", _conditions(latencies)),
        PageSection("Notes", notes.shown()),
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
            "networks": [estimate.document() for estimate in estimates],
            "files": [network_document(network) for network in files],
            "errors": report_accuracy.document(predictor, network_model),
            "notes": notes.lines,
        },
        figures=_figures(latencies, found, predictor, network_model),
    )


def _figures(
    latencies: LatencyTable, found: Sequence[Covered], predictor: Predictor | None, model: NetworkModel
) -> list[tuple[str, str]]:
    """What is read first."""
    samples = sum(bool(row.samples_s) for row in latencies.rows.values())
    told = [(str(samples), "kernels measured")]
    if found and (mean_s := found[0].mean_s()):
        told.append((f"{mean_s * 1e3:.3g} ms", f"mean network, {found[0]}"))
    if predictor is not None:
        told.append((f"{predictor.errors['median']:.1%}", "median error on kernels left out"))
    if model.errors is not None:
        told.append((f"{model.errors.median:.1%}", "median error on networks left out"))
    return told


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
