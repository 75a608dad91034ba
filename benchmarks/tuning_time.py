"""From nothing to a tuned bundle: how long ``deploy --effort`` takes, and how that grows.

    python benchmarks/tuning_time.py squeezenas-lat-small --resolution 256x512 512x1024 --json

Each row begins with an empty folder of measurements: nothing is lent by what was tuned before. What it gives
is timed beside the bundle with default schedules, by turns, each turn in a process of its own. ``--out``
keeps finished rows; a run that was stopped goes on from there.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from deployed_networks import check_names
from records import Records, say
from refusals import run_benchmark
from served import output_of

from cost_models.database.store import MeasurementStore
from cost_models.tuning.effort import EFFORTS
from search.resolution import Resolution
from squeezenas_tvm.comparing.turns import Pair, by_turns
from targets import load_target
from targets.support.child_python import child_python

_LIMIT_S = 7200.0  # of a deployment


def row_of(name: str, size: Resolution, effort: str, target: str, rounds: int) -> dict[str, Any]:
    """One network tuned from nothing: seconds, trials, kernels, and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        plain, tuned, store = Path(folder, "default"), Path(folder, "tuned"), Path(folder, "store")
        started = time.monotonic()
        _deploy(name, size, target, plain, store)
        default_s = time.monotonic() - started
        started = time.monotonic()
        told = _deploy(name, size, target, tuned, store, "--effort", effort)
        tuned_s = time.monotonic() - started
        pair = Pair(*by_turns([plain, tuned], rounds=rounds, shown=False))
        medians_ms, (low, high) = pair.medians_ms, pair.interval
        return {
            "network": name,
            "resolution": str(size),
            "effort": effort,
            "target": target,
            "kernels": told["tuned_kernels"] + told["default_kernels"],
            "tuned_kernels": told["tuned_kernels"],
            "trials": trials_of(store / "measurements.sqlite"),
            "default_s": default_s,
            "tuned_s": tuned_s,
            "latency_ms": dict(zip(("default", "tuned"), medians_ms, strict=True)),
            "tuned_to_default": {"median": pair.ratio, "low": low, "high": high},
        }


def _deploy(name: str, size: Resolution, target: str, out: Path, store: Path, *how: str) -> dict[str, Any]:
    words = ["squeezenas_tvm", "deploy", name, "--target", target, "--resolution", str(size)]
    words += ["--out", str(out), "--measurements", str(store), *how, "--json"]
    document: dict[str, Any] = json.loads(output_of(child_python(*words), _LIMIT_S, "deploy"))
    return document


def trials_of(path: Path) -> int:
    """All schedules that were tried; 0 where nothing was stored."""
    if not path.is_file():
        return 0
    with closing(MeasurementStore.open(path, create=False)) as store:
        return sum(sum(store.trial_counts(where).values()) for where in store.environments())


def line_of(row: dict[str, Any]) -> str:
    """A row for people."""
    ratio = row["tuned_to_default"]
    return (
        f"{row['network']} at {row['resolution']}, {row['effort']}: {row['tuned_s']:.0f} s for "
        f"{row['kernels']} kernels, {row['trials']} trials, {row['tuned_kernels']} of them tuned; without "
        f"tuning {row['default_s']:.0f} s. {row['latency_ms']['tuned']:.2f} ms, {ratio['median']:.2f} of the "
        f"default schedules' ({ratio['low']:.2f} to {ratio['high']:.2f})"
    )


def rows_of(args: argparse.Namespace, records: Records) -> Sequence[dict[str, Any]]:
    """All that are asked for, those that are kept as they are."""
    rows = []
    for name in args.network:
        for size in map(Resolution.parse, args.resolution):
            for effort in args.effort:
                key = {"network": name, "resolution": str(size), "effort": effort, "target": args.target}
                found = records.find(**key)
                found = found or records.add(row_of(name, size, effort, args.target, args.rounds))
                say(line_of(found))
                rows.append(found)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="*", default=["squeezenas-lat-small"], help="(default %(default)s)")
    parser.add_argument("--target", default="local-cpu", help="this machine's (default %(default)s)")
    parser.add_argument(
        "--resolution", nargs="+", default=["256x512", "512x1024", "1024x2048"], metavar="HxW"
    )
    parser.add_argument("--effort", nargs="+", choices=[*EFFORTS], default=["quick", "standard"])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each bundle (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file that keeps finished rows, a line each")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    args = parser.parse_args()
    check_names(args.network)
    rows = rows_of(args, Records(args.out))
    if args.json:
        machine = load_target(args.target).fingerprint().as_dict()
        print(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    run_benchmark(main)
