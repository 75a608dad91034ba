"""Tuning with our engine against a plain loop over TVM: trials a minute, latency found, where the time goes.

    python benchmarks/tuning_throughput.py --json --trials 64 --kernels 12 --out throughput.jsonl

Takes kernels of Small of every class, the same ones each time, in groups. Both sides tune each group with as
many trials a kernel and the same measuring, and take turns in who begins: ``plain_loop.py``, one kernel after
another, and the engine, which overlaps the kernels of a group. Starting processes is left out on both sides.
Then, for each kernel, the best schedule of both sides and the default one are timed in turns in one session,
and the floor is measured: what some of the engine's candidates cost when they are only built, on all cores,
and only measured.

Prints per kernel and in total:
    valid trials a minute of both sides and their ratio, also with every build of the plain loop, which has
    TVM's limit of 30 s, counted with at most the engine's 5 s;
    latency of the best schedules, engine to plain: geometric mean, without and with the default schedule as a
    candidate of both (kernels where a side has no schedule are left out of the former);
    seconds of sampling, evolution, build (the engine's: summed over processes), upload and run;
    the engine's time over the floor if building and measuring overlap fully, and if they do not at all.

With --out every finished part is kept, and the same command goes on from there. Run it on a quiet machine and
compare ratios only. 12 kernels with 64 trials take about 20 minutes, most of it for the plain loop.
"""

import argparse
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from comparing import in_turns
from plain_loop import Tuned, tune_plainly
from records import Records, say
from refusals import run_benchmark
from throughput_summary import PARTS, SIDES, Settings, as_text, results_of, summary

from cost_models.builder.pool import BuildPool
from cost_models.ir.fusion import Kernel
from cost_models.ir.ops import Conv2d
from cost_models.lowering.best_schedules import kernel_module
from cost_models.runner.runner import arguments_of, run_kernel
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import apply_schedule
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings, best_trial
from cost_models.tuning.scheduler import TRIAL_SETTINGS, Engine, TuningTask
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from targets import Target, load_target, open_session
from targets.fleet.fleet import Fleet

FLOOR_CANDIDATES = 8  # a kernel
BUILD_LIMIT_S = 5.0  # of the engine's builds


def engine_trials(
    kernels: Sequence[Kernel], trials: int, target: Target, seed: int
) -> tuple[list[Tuned], float]:
    """What our engine tries for a group of kernels, and the wall time in seconds, start-up left out.

    Trials alone, as in the plain loop: default schedules and finalists are not timed here.
    """
    tvm_target, settings = target.tvm_target(), SearchSettings.for_trials(trials)
    modules = {kernel: kernel_module(kernel, tvm_target) for kernel in kernels}
    found: list[Tuned] = []

    def open_search(kernel: Kernel) -> KernelSearch:
        return KernelSearch(modules[kernel], tvm_target, settings, seed)

    def finished(task: TuningTask) -> None:
        found.append(Tuned(task.kernel.key, tuple(task.trials), task.sampling_s, task.evolution_s))

    with BuildPool() as pool, Fleet(target) as fleet:
        pool.build([modules[kernels[0]]] * (os.cpu_count() or 1), tvm_target)  # the workers have loaded TVM
        engine = Engine(pool, fleet, tvm_target, keep=lambda kernel, trial: None, in_turns=True)
        tasks = [TuningTask(kernel, partial(open_search, kernel), trials, math.inf) for kernel in kernels]
        started = time.perf_counter()
        engine.run(tasks, finished)
        return found, time.perf_counter() - started


def plain_trials(
    kernels: Sequence[Kernel], trials: int, target: Target, seed: int
) -> tuple[list[Tuned], float]:
    """The same with the plain loop."""
    tvm_target = target.tvm_target()
    modules = {kernel.key: kernel_module(kernel, tvm_target) for kernel in kernels}
    with open_session(target, timeout_s=86400.0) as session:
        started = time.perf_counter()
        found = [
            tune_plainly(key, mod, tvm_target, session, trials=trials, seed=seed, how=TRIAL_SETTINGS)
            for key, mod in modules.items()
        ]
        return found, time.perf_counter() - started


def choose_kernels(resolution: Resolution, count: int) -> list[Kernel]:
    """Kernels of Small: all classes as evenly as can be, of each the largest one and then smaller ones."""
    classes: dict[tuple[object, ...], list[Kernel]] = defaultdict(list)
    for kernel in sorted(
        space_kernels(get_space("small"), resolution, segmentation_head(19)),
        key=lambda k: (-k.macs, -k.bytes_moved, k.key),
    ):
        convolutions = [node.op for node in kernel.graph.nodes if isinstance(node.op, Conv2d)]
        form = [(op.stride > 1, op.dilation > 1) for op in convolutions[:1]]
        classes[(kernel.kind, *form)].append(kernel)
    largest_first = sorted(classes.values(), key=len, reverse=True)
    shares = [0] * len(largest_first)
    while sum(shares) < min(count, sum(map(len, largest_first))):
        open_ = [i for i, kernels in enumerate(largest_first) if shares[i] < len(kernels)]
        shares[min(open_, key=lambda i: (shares[i], i))] += 1
    return [
        kernels[index * len(kernels) // share]
        for kernels, share in zip(largest_first, shares, strict=True)
        for index in range(share)
    ]


def tune_all(
    records: Records, kernels: Sequence[Kernel], options: argparse.Namespace, target: Target
) -> None:
    """Tune every group by both sides; each starts every second group."""
    tuners = {"plain": plain_trials, "engine": engine_trials}
    groups = [kernels[start : start + options.group] for start in range(0, len(kernels), options.group)]
    for number, group in enumerate(groups):
        names = [kernel.key for kernel in group]
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            place = {"what": "trials", "side": side, "group_of": names, **_settings(options)}
            if records.find(**place) is None:
                say(f"group {number + 1} of {len(groups)}, {side}: {', '.join(names)}")
                found, wall_s = tuners[side](group, options.trials, target, options.seed)
                records.add({**place, "wall_s": wall_s, "results": {t.kernel: _result(t) for t in found}})


def _result(tuned: Tuned) -> dict[str, Any]:
    valid = [trial for trial in tuned.trials if trial.error is None]
    best = best_trial(valid)
    return {
        "tried": len(tuned.trials),
        "valid": len(valid),
        "sampling_s": tuned.sampling_s,
        "evolution_s": tuned.evolution_s,
        **{part: sum(getattr(trial, part) for trial in tuned.trials) for part in PARTS[2:]},
        "build_over_limit_s": sum(max(0.0, trial.build_s - BUILD_LIMIT_S) for trial in tuned.trials),
        "best": best.schedule if best else None,
        "some": [trial.schedule for trial in valid[:: 1 + len(valid) // FLOOR_CANDIDATES]],
    }


def check_all(
    records: Records, kernels: Sequence[Kernel], options: argparse.Namespace, target: Target
) -> None:
    """Compare what was found, and measure the floor, kernel by kernel."""
    tvm_target, results = target.tvm_target(), results_of(records, _settings(options))
    with BuildPool() as pool, open_session(target, timeout_s=86400.0) as session:
        pool.build([kernel_module(kernels[0], tvm_target)] * (os.cpu_count() or 1), tvm_target)
        for kernel in kernels:
            place = {"what": "checked", "kernel": kernel.key, **_settings(options)}
            if records.find(**place) is not None:
                continue
            say(f"comparing {kernel.key}")
            mod = kernel_module(kernel, tvm_target)
            scheduled = {"default": schedule_default(mod, tvm_target)}
            for side in SIDES:
                if schedule := results[side][kernel.key]["best"]:
                    scheduled[side] = apply_schedule(mod, tvm_target, schedule)
            rounds_s = in_turns(scheduled, kernel.key[-8:], tvm_target, session)
            some = [apply_schedule(mod, tvm_target, s) for s in results["engine"][kernel.key]["some"]]
            records.add({**place, "rounds_s": rounds_s, "floor": _floor(some, pool, tvm_target, session)})


def _floor(modules: Sequence[Any], pool: BuildPool, tvm_target: Any, session: Any) -> dict[str, float]:
    """Wall seconds a candidate when it is only built, on all cores, and only measured."""
    started = time.perf_counter()
    builds = pool.build(modules, tvm_target)
    built = time.perf_counter()
    for mod, done in zip(modules, builds, strict=True):
        if done.path:
            run_kernel(session, done.path, arguments_of(mod), TRIAL_SETTINGS)
    ended, count = time.perf_counter(), max(len(modules), 1)
    return {"build_s": (built - started) / count, "measure_s": (ended - built) / count}


def _settings(options: argparse.Namespace) -> Settings:
    return {name: getattr(options, name) for name in ("resolution", "kernels", "trials", "group", "seed")}


def main() -> None:
    """Run what is missing and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=64, help="a kernel (default %(default)s)")
    parser.add_argument("--kernels", type=int, default=12, help="how many (default %(default)s)")
    parser.add_argument(
        "--group", type=int, default=4, help="kernels that the engine gets at once (default 4)"
    )
    parser.add_argument("--resolution", default="256x512", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="JSON lines: what is finished, to go on from"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    records, target = Records(options.out), load_target("local-cpu")
    kernels = choose_kernels(Resolution.parse(options.resolution), options.kernels)
    tune_all(records, kernels, options, target)
    check_all(records, kernels, options, target)
    document = summary(records, kernels, _settings(options))
    print(json.dumps(document, indent=2) if options.json else as_text(document))


if __name__ == "__main__":
    run_benchmark(main)
