"""Which settings of the schedule search pay: latency found against seconds of proposing, building, measuring.

    python benchmarks/search_settings.py --json --trials 64 --kernels 6 --out search_settings.jsonl

Searches kernels of Small of every class, each with all settings below: sources alone and mixed, then the
mixture with one setting changed. Parts run one after another here, so that their times can be told apart.
Then the fastest schedule found and the default one are timed in turns, and so is the fastest after half of
the trials.

Prints for each setting the ratio of the latency found to that of the default schedule (geometric mean, worst
kernel; after half of the trials, too), the share of kernels where tiles won, failed trials, and the seconds
of each part, in all and a trial. With --out every finished search is kept, and the same command goes on from
there. Run it on a quiet machine and compare ratios only. 6 kernels with 64 trials take about an hour.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from records import Records
from refusals import run_benchmark
from tuning_throughput import choose_kernels

from cost_models.builder.pool import BuildPool
from cost_models.database.records import Trial
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.runner.runner import RunResult, RunSettings, arguments_of, run_kernel
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import Proposal, apply_schedule
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings, best_trial
from cost_models.tuning.scheduler import TRIAL_SETTINGS
from search.resolution import Resolution
from squeezenas_tvm.cli import table
from targets import load_target, open_session

GRID = {
    "tiles": SearchSettings(sources=("tiles",)),
    "evolution": SearchSettings(sources=("evolution",)),
    "mixture": SearchSettings(),
    "population 32, 1 generation": SearchSettings(population=32, generations=1),
    "population 128": SearchSettings(population=128),
    "population 128, 4 generations": SearchSettings(population=128, generations=4),
    "model after 8 trials": SearchSettings(random_trials=8),
    "rounds of 8": SearchSettings(round_size=8),
    "rounds of 32": SearchSettings(round_size=32),
}
CAREFUL = RunSettings(number=1, repeat=5, min_repeat_s=0.02)
ROUNDS = 6  # of the comparison with the default schedule
PARTS = ("propose_s", "build_s", "measure_s")


class Bench:
    """The device, the compilers and the target of all searches."""

    def __init__(self, pool: BuildPool, session: Any, tvm_target: Any) -> None:
        self._pool, self._session, self._target = pool, session, tvm_target

    def search(self, kernel: Kernel, settings: SearchSettings, trials: int, seed: int) -> dict[str, Any]:
        """One search: what each part took, how many trials it made, and how fast its best schedules are."""
        mod = kernel_module(kernel, self._target)
        spent = dict.fromkeys(PARTS, 0.0)
        done: list[Trial] = []
        started = time.perf_counter()
        search = KernelSearch(mod, self._target, settings, seed)
        while proposals := search.propose(trials - len(done)) if len(done) < trials else []:
            spent["propose_s"] += time.perf_counter() - started
            tried = self._try(proposals, arguments_of(mod), done, spent)
            started = time.perf_counter()
            search.learn(proposals, tried)
            done += tried
        spent["propose_s"] += time.perf_counter() - started
        half, whole = best_trial(done[: trials // 2]), best_trial(done)
        found = {"half": half, "whole": whole} if half and whole else {}
        schedules = {name: apply_schedule(mod, self._target, t.schedule) for name, t in found.items()}
        return {
            **spent,
            "trials": len(done),
            "failed": sum(trial.error is not None for trial in done),
            "winner": whole.origin if whole else None,
            **self._ratios(schedule_default(mod, self._target), schedules),
        }

    def _try(
        self,
        proposals: Sequence[Proposal],
        args_info: Sequence[Any],
        done: list[Trial],
        spent: dict[str, float],
    ) -> list[Trial]:
        started = time.perf_counter()
        builds = self._pool.build([proposal.mod for proposal in proposals], self._target)
        built = time.perf_counter()
        best_s = min((trial.median_s for trial in done), default=float("inf"))
        tried = []
        for proposal, build in zip(proposals, builds, strict=True):
            run = RunResult(error=build.error)
            if build.path is not None:
                run = run_kernel(self._session, build.path, args_info, TRIAL_SETTINGS, best_s=best_s)
                build.path.unlink()
            trial = Trial(
                schedule=proposal.schedule, samples_s=run.samples_s, error=run.error, origin=proposal.origin
            )
            best_s = min(best_s, trial.median_s)
            tried.append(trial)
        spent["build_s"] += built - started
        spent["measure_s"] += time.perf_counter() - built
        return tried

    def _ratios(self, default: Any, schedules: Mapping[str, Any]) -> dict[str, float]:
        """Latency of each schedule over that of the default one, timed in turns."""
        modules = {"default": default, **schedules}
        builds = dict(zip(modules, self._pool.build(list(modules.values()), self._target), strict=True))
        times_s: dict[str, list[float]] = {name: [] for name in modules}
        for _ in range(ROUNDS):
            for name, build in builds.items():
                if build.path is None:
                    raise SystemExit(f"{name}: {build.error}")
                run = run_kernel(self._session, build.path, arguments_of(default), CAREFUL)
                if run.error:
                    raise SystemExit(f"{name}: {run.error}")
                times_s[name].append(statistics.median(run.samples_s))
        defaults_s = times_s.pop("default")
        return {
            name: statistics.median(s / d for s, d in zip(found_s, defaults_s, strict=True))
            for name, found_s in times_s.items()
        }


def summary(records: Records, names: Sequence[str], place: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a setting, over the kernels that were searched with it."""
    rows = []
    for name in names:
        found = [r for r in records.all if {**place, "setting": name}.items() <= r.items()]
        ratios = [r["whole"] for r in found if "whole" in r]
        if not ratios:  # nothing to tile
            continue
        trials = sum(r["trials"] for r in found)
        seconds = {part: sum(r[part] for r in found) for part in PARTS}
        rows.append(
            {
                "setting": name,
                **found[0]["settings"],
                "kernels": len(ratios),
                "to_default": statistics.geometric_mean(ratios),
                "worst": max(ratios),
                "to_default_after_half": statistics.geometric_mean(r["half"] for r in found if "half" in r),
                "tiles_won": sum(r["winner"] == "tiles" for r in found) / len(ratios),
                "trials": trials,
                "failed": sum(r["failed"] for r in found),
                **seconds,
                "seconds_a_trial": sum(seconds.values()) / trials,
            }
        )
    return rows


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of ``summary`` for people."""
    shown = ("to_default", "worst", "to_default_after_half", "tiles_won", *PARTS, "seconds_a_trial")
    return table(["setting", *shown], [[row["setting"], *(f"{row[n]:.3g}" for n in shown)] for row in rows])


def main() -> None:
    """Run what is missing and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=64, help="a search (default %(default)s)")
    parser.add_argument("--kernels", type=int, default=6, help="how many (default %(default)s)")
    parser.add_argument("--settings", nargs="+", choices=GRID, default=list(GRID), help="default: all")
    parser.add_argument("--resolution", default="256x512", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="JSON lines: what is finished, to go on from"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    records, target = Records(options.out), load_target("local-cpu")
    place = {name: getattr(options, name) for name in ("resolution", "kernels", "trials", "seed")}
    kernels = choose_kernels(Resolution.parse(options.resolution), options.kernels)
    with BuildPool() as pool, open_session(target, timeout_s=86400.0) as session:
        bench = Bench(pool, session, target.tvm_target())
        for kernel in kernels:  # all settings of a kernel in the same quarter of an hour
            for name in options.settings:
                here = {**place, "kernel": kernel.key, "setting": name}
                if records.find(**here) is None:
                    print(f"{kernel.key}: {name}", file=sys.stderr, flush=True)
                    result = bench.search(kernel, GRID[name], options.trials, options.seed)
                    records.add({**here, "settings": asdict(GRID[name]), **result})
    rows = summary(records, options.settings, place)
    print(json.dumps({**place, "settings": rows}, indent=2) if options.json else as_text(rows))


if __name__ == "__main__":
    run_benchmark(main)
