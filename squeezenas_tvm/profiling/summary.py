"""What ``profile`` writes and shows: latencies of blocks, how sure they are, how well predicted."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, table
from squeezenas_tvm.profiling.fit_predictor import SEED
from squeezenas_tvm.profiling.measure import PARTS, Measured
from squeezenas_tvm.terminal.progress import duration

if TYPE_CHECKING:
    from cost_models.kernel_models.hold_outs import Errors

WIDE = 0.05
ERRORS = ("MAPE %", "% within 5 %", "% within 10 %", "Spearman", "% inside interval")
LEFT_OUT = {
    "random": "random fifths",
    "resolution": "a resolution",
    "channels": "a channel count",
    "window": "a window or dilation",
}


def report(
    measured: Measured, kernels: Sequence[Any], space: Any, resolution: Any, classes: int, folder: Path
) -> Result:
    """Write the document of a profile beside its table, and say it in words; exit code 1 for holes."""
    from search.costs.kernel_table import cost_table
    from squeezenas_tvm.profiling.document import ProfileDocument

    costs = cost_table(measured.table, space, resolution, classes)
    rows = [measured.table.rows[kernel.key] for kernel in kernels if kernel.key in measured.table.rows]
    quality = _quality(rows)
    entries = {f"{i}/{name}": e for i, row in enumerate(costs.blocks) for name, e in row.items()} | dict(
        costs.fixed
    )
    holes = [name for name, entry in entries.items() if entry is None]
    told = {
        "schema_version": ProfileDocument.SCHEMA,
        "made_by": "squeezenas_tvm profile",
        "target": measured.table.target,
        "space": space.name,
        "resolution": str(resolution),
        "blocks": [{name: _entry(e) for name, e in row.items()} for row in costs.blocks],
        "fixed": {name: _entry(e) for name, e in costs.fixed.items()},
        "missing": holes,
        "kernels": quality,
        "estimated": dict(measured.problems),
        "tuning": measured.tuning,
        "additivity": measured.additivity.document() if measured.additivity else None,
        "boards": list(measured.table.boards),
        "predictor": _predictor(measured),
        "networks": _networks(measured),
        "folder": str(folder),
    }
    path = folder / f"{space.name}-{resolution}.json"
    document = ProfileDocument.model_validate(told)
    document.save(path)
    lines = [_costs_text(costs, holes), "", *_quality_text(quality, measured), "", *_predictor_text(measured)]
    lines += [*_networks_text(measured), "", f"Table: {path} (raw samples: {folder / 'measurements.sqlite'})"]
    shown = document.model_dump(mode="json")
    return Result(document=shown, text="\n".join(lines), exit_code=1 if holes else 0)


def _quality(rows: Sequence[Any]) -> dict[str, Any]:
    """How the rows came to be, and how sure they are."""
    widths = [row.statistics.width for row in rows if row.samples_s]
    return {
        "count": len(rows),
        "how": dict(Counter(row.how for row in rows)),
        "share_wider_than_5_percent": sum(width > WIDE for width in widths) / max(len(widths), 1),
    }


def _quality_text(quality: dict[str, Any], measured: Measured) -> list[str]:
    from cost_models.runner.module_runner import CACHES
    from targets.sensors.readings import BoardReading

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
    from cost_models.kernel_models.predictor import LEAST_KERNELS

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


def _networks_text(measured: Measured) -> list[str]:
    model = measured.network_model
    if model is None or model.errors is None or model.plain_errors is None:
        return []
    rows = [
        error_cells("estimates, each left out", model.errors),
        error_cells("plain sums of kernels", model.plain_errors),
    ]
    head = ["", "networks", *ERRORS]
    return ["", f"Networks ({model.origin}):", "", table(head, rows)]


def error_cells(name: str, errors: "Errors") -> list[str]:
    """A row of a table of errors: what was left out, how many, then as in ``ERRORS``."""
    shares = [f"{100 * share:.1f}" for share in (errors.mape, errors.within_5, errors.within_10)]
    return [name, f"{errors.count}", *shares, f"{errors.spearman:.3f}", f"{100 * errors.coverage:.0f}"]


def _entry(found: Any) -> dict[str, Any] | None:
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
        "interval_ms": found.interval_s * 1e3 if math.isfinite(found.interval_s) else None,
    }


def _costs_text(costs: Any, holes: list[str]) -> str:
    names = list(dict.fromkeys(name for row in costs.blocks for name in row))
    rows = [
        [str(index), *(f"{row[name].median_s * 1e3:.3f}" if row.get(name) else "-" for name in names)]
        for index, row in enumerate(costs.blocks)
    ]
    fixed = ", ".join(f"{n} {e.median_s * 1e3:.3f}" if e else f"{n} -" for n, e in costs.fixed.items())
    lines = [
        "Median latency in ms by position and candidate:",
        "",
        table(["", *names], rows),
        "",
        f"Around them: {fixed}",
    ]
    if holes:
        lines.append(
            f"Not measured ({len(holes)}): {', '.join(holes[:6])}; the same command tries the rest again."
        )
    return "\n".join(lines)
