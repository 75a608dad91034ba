"""``profile``: measures the kernels of a space on a target and composes its table of block latencies."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezenas_tvm.cli import Result, positive_int, progress, run_command, table
from squeezenas_tvm.errors import FailedWork
from squeezenas_tvm.options import add_resolution, check_buildable, results_folder, trials_count

EXAMPLE = "squeezenas-tvm profile --target local-cpu --space small --resolution 256x512 --trials 16"
KEPT = "everything measured so far is stored; the same command goes on from there"
DEFAULT_TRIALS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--target", required=True, help="device to measure on: a name, or a YAML file")
    parser.add_argument("--space", default="small", help="search space (default %(default)s)")
    add_resolution(parser, "1024x2048")
    parser.add_argument("--dtype", default="float32", help="element type (default %(default)s)")
    parser.add_argument(
        "--trials",
        type=trials_count,
        default=DEFAULT_TRIALS,
        metavar="N",
        help="schedules tried for each kernel; 0 times the default schedules only (default %(default)s)",
    )
    parser.add_argument(
        "--classes", type=positive_int, default=19, help="classes of the decoder (default 19)"
    )
    parser.add_argument("--tracker", metavar="HOST:PORT", help="TVM RPC tracker of a board")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where measurements are kept (default results/TARGET)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the schedule search (default %(default)s)")


def execute(args: argparse.Namespace) -> Result:
    """Measure what is missing, then write and show the table."""
    from search.costs import space_kernels
    from search.resolution import Resolution
    from search.spaces import get_space
    from targets import load_target

    target, space = load_target(args.target), get_space(args.space)
    resolution = Resolution.parse(args.resolution)
    check_buildable(target)
    folder = results_folder(target.name, args.out)
    found = list(space_kernels(space, resolution, args.classes))
    measured = measure_kernels(
        target, found, folder, trials=args.trials, dtype=args.dtype, tracker=args.tracker, seed=args.seed
    )
    return _report(measured, space, resolution, args.classes, folder)


def measure_kernels(
    target: Any,
    wanted: Sequence[Any],
    folder: Path,
    *,
    trials: int,
    dtype: str = "float32",
    tracker: str | None = None,
    seed: int = 0,
    title: str = "profile",
) -> Any:
    """Measure kernels on a target, save the table of all that its store holds, return it.

    Raises:
        FailedWork: not one kernel could be measured.
    """
    from cost_models.profiler import Profiler
    from cost_models.store import MeasurementStore
    from cost_models.table import LatencyTable

    with MeasurementStore.open(folder / "measurements.sqlite") as store:
        profiler = Profiler(target, store, dtype=dtype, tracker=tracker, seed=seed)
        failed = {}
        with profiler, progress(title, len(wanted)) as step:
            for kernel in wanted:
                for measurement in profiler.measure(kernel, trials):
                    if measurement.error:
                        failed[kernel.key] = measurement.error
                step(kernel.label)
        result = LatencyTable.from_store(store, target.name, profiler.fingerprint)
    if wanted and not any(kernel.key in result.rows for kernel in wanted):
        reason = next(iter(failed.values()), "no reason given")
        raise FailedWork(f"not one of {len(wanted)} kernels could be measured on {target.name}: {reason}")
    result.save(folder, made_by=f"squeezenas_tvm profile, {trials} trials a kernel")
    return result


def _report(measured: Any, space: Any, resolution: Any, classes: int, folder: Path) -> Result:
    import json

    from cost_models.table import write_whole
    from search.costs import cost_table

    costs = cost_table(measured, space, resolution, classes)
    entries = {f"{i}/{name}": e for i, row in enumerate(costs.blocks) for name, e in row.items()} | dict(
        costs.fixed
    )
    holes = [name for name, entry in entries.items() if entry is None]
    document = {
        "target": measured.target,
        "space": space.name,
        "resolution": str(resolution),
        "blocks": [{name: _entry(e) for name, e in row.items()} for row in costs.blocks],
        "fixed": {name: _entry(e) for name, e in costs.fixed.items()},
        "missing": holes,
        "folder": str(folder),
    }
    path = folder / f"{space.name}-{resolution}.json"
    write_whole(path, json.dumps(document, indent=1) + "\n")
    return Result(document=document, text=_text(costs, holes, path), exit_code=1 if holes else 0)


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
    }


def _text(costs: Any, holes: list[str], path: Path) -> str:
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
    return "\n".join([*lines, f"Table: {path} (raw samples: {path.parent / 'measurements.sqlite'})"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("profile", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


if __name__ == "__main__":
    sys.exit(main())
