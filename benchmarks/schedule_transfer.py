"""Does lending schedules to neighbours cost latency, against searching every kernel alone?

    python benchmarks/schedule_transfer.py --json --folder transfer-benchmark

Profiles all kernels of Small with an effort that transfers (``--effort``, one store), and a sample of them
as effort thorough does, which searches every kernel alone (another store). The sample is drawn from the
kernels that are not anchors, classes in proportion. Then, kernel by kernel, what both stores hold as the
fastest schedule is timed in turns in one session, with the default schedule.

Prints the trials of both ways (the second counted up to the whole space), and of the latencies, transferred
to searched alone, geometric mean and worst; also of the best trials, without default schedules as candidates.

Everything measured is kept in the folder: the same command goes on where it stopped.
"""

import argparse
import json
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparing import in_turns
from records import Records, say
from refusals import run_benchmark

from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.profiling.context import measure_context
from cost_models.profiling.profiler import measure
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import apply_schedule
from cost_models.tuning.effort import EFFORTS, Effort
from cost_models.tuning.transfer import plan
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm.cli import table
from targets import Target, load_target, open_session

WAYS = ("transfer", "alone")


def choose_sample(kernels: Sequence[Kernel], effort: Effort, count: int, seed: int) -> list[Kernel]:
    """Neighbours of the plan, drawn at random with the classes in proportion."""
    neighbours = list(plan(kernels, effort).neighbours)
    classes: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in neighbours:
        classes[kernel.kind].append(kernel)
    draw = random.Random(seed)
    chosen = []
    for members in classes.values():
        draw.shuffle(members)
        chosen += members[: max(1, round(count * len(members) / len(neighbours)))]
    return sorted(chosen, key=lambda kernel: (kernel.kind, kernel.key))


def profile(target: Target, path: Path, kernels: Sequence[Kernel], effort: Effort, seed: int) -> int:
    """Measure what is missing; returns how many trials the kernels have."""
    with MeasurementStore.open(path) as store, measure_context(target, store) as context:
        measure(context, kernels, effort, seed=seed)
        counts = store.trial_counts(context.history.environment)
        return sum(counts.get(kernel.key, 0) for kernel in kernels)


def fastest(target: Target, path: Path, kernel: Kernel) -> tuple[Any | None, Any | None]:
    """Modules of the best trial and of what the table counts, which may be the default schedule (None)."""
    tvm_target = target.tvm_target()
    mod = kernel_module(kernel, tvm_target)
    with MeasurementStore.open(path, create=False) as store:
        (environment,) = store.environments()
        trials = store.trials(environment, kernel.key)
        counted, _ = store.fastest(environment, kernel.key)[kernel.key]
    best = min((t for t in trials.values() if not t.error), key=lambda t: t.median_s, default=None)
    return (
        apply_schedule(mod, tvm_target, best.schedule) if best else None,
        apply_schedule(mod, tvm_target, trials[counted].schedule) if counted else None,
    )


def compare(target: Target, stores: dict[str, Path], kernel: Kernel, session: Any) -> dict[str, Any]:
    """Median seconds of each round: default, and the best trial and the counted schedule of both ways."""
    tvm_target = target.tvm_target()
    modules = {"default": schedule_default(kernel_module(kernel, tvm_target), tvm_target)}
    for way, path in stores.items():
        best, counted = fastest(target, path, kernel)
        modules |= {name: mod for name, mod in ((f"{way} trial", best), (way, counted)) if mod is not None}
    return in_turns(modules, kernel.key[-8:], tvm_target, session)


def row_of(kernel: Kernel, rounds_s: dict[str, list[float]]) -> dict[str, Any]:
    """Ratios are medians over rounds. A way without a counted schedule of its own runs the default one."""
    seconds = {way: rounds_s.get(way, rounds_s["default"]) for way in WAYS}
    row: dict[str, Any] = {"kernel": kernel.key, "kind": kernel.kind}
    row |= {f"{name}_ms": statistics.median(samples) * 1e3 for name, samples in rounds_s.items()}
    row["ratio"] = _ratio(seconds["transfer"], seconds["alone"])
    if {f"{way} trial" for way in WAYS} <= rounds_s.keys():
        row["trials_ratio"] = _ratio(rounds_s["transfer trial"], rounds_s["alone trial"])
    return row


def _ratio(a: Sequence[float], b: Sequence[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def _summary(rows: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    found = [row[name] for row in rows if name in row]
    mean = math.exp(statistics.fmean(map(math.log, found)))
    return {"geometric_mean": mean, "worst": max(found), "best": min(found), "kernels": len(found)}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do what is missing; returns the document."""
    target, effort = load_target("local-cpu"), EFFORTS[options.effort]
    kernels = list(
        space_kernels(get_space("small"), Resolution.parse(options.resolution), segmentation_head(19))
    )
    sample = choose_sample(kernels, effort, options.kernels, options.seed)
    stores = {way: options.folder / f"{way}.sqlite" for way in WAYS}
    say(f"{effort.name}: {len(kernels)} kernels, at most {effort.total(len(kernels))} trials")
    tried = profile(target, stores["transfer"], kernels, effort, options.seed)
    trials = EFFORTS["thorough"].trials
    say(f"alone: {len(sample)} kernels with {trials} trials each")
    alone = profile(target, stores["alone"], sample, Effort.alone(trials), options.seed)
    records = Records(options.folder / "compared.jsonl")
    with open_session(target, timeout_s=86400.0) as session:
        for kernel in sample:
            if records.find(kernel=kernel.key) is None:
                say(f"comparing {kernel.key}")
                rounds_s = compare(target, stores, kernel, session)
                records.add({"kernel": kernel.key, "rounds_s": rounds_s})
    rows = [row_of(kernel, records.find(kernel=kernel.key)["rounds_s"]) for kernel in sample]  # type: ignore[index]
    every = round(alone / len(sample) * len(kernels))
    return {
        "resolution": options.resolution,
        "effort": effort.name,
        "trials": tried,
        "trials_alone": every,
        "share_of_trials": tried / every,
        "latency": _summary(rows, "ratio"),
        "trials_alone_latency": _summary(rows, "trials_ratio"),
        "kernels": rows,
    }


def as_text(document: dict[str, Any]) -> str:
    """The document for people."""
    cells = ("default_ms", "transfer_ms", "alone_ms", "ratio", "trials_ratio")
    rows = [
        [row["kernel"], *(f"{row[name]:.3f}" if name in row else "-" for name in cells)]
        for row in document["kernels"]
    ]
    latency, trials = document["latency"], document["trials_alone_latency"]
    return "\n".join(
        [
            table(["kernel", "default ms", "transfer ms", "alone ms", "ratio", "of trials"], rows),
            "",
            f"{document['trials']} trials, {document['share_of_trials']:.3f} of {document['trials_alone']}",
            f"latency: geometric mean {latency['geometric_mean']:.3f}, worst {latency['worst']:.3f}, "
            f"best {latency['best']:.3f} of {latency['kernels']} kernels",
            f"without default schedules: geometric mean {trials['geometric_mean']:.3f}, "
            f"worst {trials['worst']:.3f} of {trials['kernels']}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("transfer-benchmark"), metavar="DIR")
    parser.add_argument("--kernels", type=int, default=28, help="of the sample (default %(default)s)")
    parser.add_argument(
        "--effort", choices=[e.name for e in EFFORTS.values() if e.transfers], default="standard"
    )
    parser.add_argument("--resolution", default="256x512", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    document = run(options)
    print(json.dumps(document, indent=2) if options.json else as_text(document))


if __name__ == "__main__":
    run_benchmark(main)
