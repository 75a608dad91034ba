"""``profile``: measures the kernels of a space on a target and composes its table of block latencies."""

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cost_models.effort import EFFORTS, Effort
from squeezenas_tvm.cli import Result, leave, positive_int, run_command, table
from squeezenas_tvm.measuring import PARTS, Measured, measure_kernels
from squeezenas_tvm.options import add_dtype, add_resolution, results_folder, trials_count
from squeezenas_tvm.progress import duration

EXAMPLE = "squeezenas-tvm profile --target local-cpu --space small --resolution 256x512 --effort quick"
KEPT = "everything measured so far is stored; the same command goes on from there"
BLOCKS = 8  # of the space, that are also timed whole
WIDE = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--target", required=True, help="device to measure on: a name, or a YAML file")
    parser.add_argument("--space", default="small", help="search space (default %(default)s)")
    add_resolution(parser, "1024x2048")
    add_dtype(parser)
    parser.add_argument(
        "--effort",
        choices=list(EFFORTS),
        default="standard",
        help="how long to look for fast schedules (default %(default)s)",
    )
    parser.add_argument(
        "--trials",
        type=trials_count,
        metavar="N",
        help="instead of --effort: schedules tried for each kernel; 0 times the default schedules only",
    )
    parser.add_argument(
        "--classes", type=positive_int, default=19, help="classes of the decoder (default 19)"
    )
    parser.add_argument(
        "--tracker",
        metavar="HOST:PORT",
        help="TVM RPC tracker: all of its boards of the target's key are used",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where measurements are kept (default results/TARGET)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the schedule search (default %(default)s)")


def execute(args: argparse.Namespace) -> Result:
    """Measure what is missing, then write and show the table."""
    from search.costs import sample_blocks, space_kernels
    from search.resolution import Resolution
    from search.spaces import get_space
    from targets import load_target
    from targets.tools import find_tools

    target, space = load_target(args.target), get_space(args.space)
    resolution = Resolution.parse(args.resolution)
    find_tools(target, args.dtype)  # before anything long
    folder = results_folder(target.name, args.out, args.dtype)
    found = list(space_kernels(space, resolution, args.classes))
    measured = measure_kernels(
        target,
        found,
        folder,
        effort=EFFORTS[args.effort] if args.trials is None else Effort.alone(args.trials),
        blocks=[(part.name, part.graph, part.inputs) for part in sample_blocks(space, resolution, BLOCKS)],
        dtype=args.dtype,
        tracker=args.tracker,
        seed=args.seed,
    )
    return _report(measured, found, space, resolution, args.classes, folder)


def _report(
    measured: Measured, kernels: Sequence[Any], space: Any, resolution: Any, classes: int, folder: Path
) -> Result:
    import json

    from cost_models.table import write_whole
    from search.costs import cost_table

    costs = cost_table(measured.table, space, resolution, classes)
    rows = [measured.table.rows[kernel.key] for kernel in kernels if kernel.key in measured.table.rows]
    quality = _quality(rows)
    entries = {f"{i}/{name}": e for i, row in enumerate(costs.blocks) for name, e in row.items()} | dict(
        costs.fixed
    )
    holes = [name for name, entry in entries.items() if entry is None]
    document = {
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
        "predictor": dict(measured.predictor.errors) if measured.predictor else None,
        "folder": str(folder),
    }
    path = folder / f"{space.name}-{resolution}.json"
    write_whole(path, json.dumps(document, indent=1) + "\n")
    text = "\n".join([_costs_text(costs, holes), "", *_quality_text(quality, measured), f"Table: {path}"])
    text += f" (raw samples: {folder / 'measurements.sqlite'})"
    return Result(document=document, text=text, exit_code=1 if holes else 0)


def _quality(rows: Sequence[Any]) -> dict[str, Any]:
    """How the rows came to be, and how sure they are."""
    widths = [row.latency.width for row in rows if row.samples_s]
    return {
        "count": len(rows),
        "how": dict(Counter(row.how for row in rows)),
        "share_wider_than_5_percent": sum(width > WIDE for width in widths) / max(len(widths), 1),
    }


def _quality_text(quality: dict[str, Any], measured: Measured) -> list[str]:
    from cost_models.whole_blocks import CACHES
    from targets.readings import BoardReading

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
    if measured.predictor is not None:
        errors = measured.predictor.errors
        lines.append(
            f"Predictor of other kernels, tried on sizes left out of its fit: median error "
            f"{errors['median']:.1%}, {errors['within_10']:.0%} of kernels within 10 %."
        )
    for board in measured.table.boards:
        if board["before"]:
            before, after = (BoardReading(**board[when]) for when in ("before", "after"))
            lines.append(f"Board {board['name']}: at first {before}; at last {after}.")
    if measured.additivity is not None:
        ratios = {cache: measured.additivity.ratio(cache) for cache in CACHES}
        if said := "; ".join(f"{cache} caches {ratio}" for cache, ratio in ratios.items() if ratio):
            lines.append(f"Whole blocks over the sum of their kernels: {said}.")
    return lines


def _entry(latency: Any) -> dict[str, Any] | None:
    if latency is None:
        return None
    return {
        "median_ms": latency.median_s * 1e3,
        "low_ms": latency.low_s * 1e3,
        "high_ms": latency.high_s * 1e3,
        "samples": latency.samples,
        "kernels": latency.kernels,
        "tuned_kernels": latency.tuned,
        "estimated_kernels": latency.estimated,
        "interval_ms": latency.interval_s * 1e3 if math.isfinite(latency.interval_s) else None,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("profile", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


if __name__ == "__main__":
    leave(main())
