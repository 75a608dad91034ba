"""Tuning as a competent user of TVM writes it by hand: the baseline of ``tuning_throughput.py``.

One candidate at a time; MetaSchedule's evolutionary search with TVM's own settings (population 512, 4
generations, trees after 100 samples, rounds of 64); candidates are built and measured over RPC, in turn.

What TVM would do worse is left out: its builder and runner start processes that load TVM anew, its
database is a file. Its limit of 30 s a build is kept, by a fork that does the build: some schedules unroll a
kernel so far that LLVM is at them for a quarter of an hour. Schedule rules are those of plain ``llvm``, as in
our search: those by CPU feature add intrinsics for int8, which take a minute to import.
"""

import logging
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_models.database.records import Trial
from cost_models.runner.runner import RunSettings, run_kernel
from cost_models.schedules.serialization import trace_text
from cost_models.tvm_import import ms, tvm
from targets.support.text import brief

BUILD_LIMIT_S = 30.0  # of TVM's LocalBuilder
ROUND = 64  # TVM's num_trials_per_iter
_FORK = multiprocessing.get_context("fork")
_log = logging.getLogger(__name__)
_log.setLevel(logging.WARNING)  # MetaSchedule would report every generation


@dataclass(frozen=True)
class Tuned:
    """What a search of one kernel tried and what it cost.

    Attributes:
        kernel: its key.
        sampling_s: drawing candidates. evolution_s: evolving them and training the cost model.
    """

    kernel: str
    trials: tuple[Trial, ...]
    sampling_s: float
    evolution_s: float


def tune_plainly(
    key: str, mod: Any, target: Any, session: Any, *, trials: int, seed: int, how: RunSettings
) -> Tuned:
    """Try ``trials`` schedules of a kernel; fewer where MetaSchedule finds no more.

    Args:
        mod: IRModule whose only function is the kernel, ``main``.
        target: tvm Target of kind llvm.
        session: open, with attributes remote, device and scratch.
        how: to measure.
    """
    search = _Search(mod, target, trials, seed)
    done: list[Trial] = []
    with tempfile.TemporaryDirectory() as folder:
        while len(done) < trials and (candidates := search.propose()):
            tried: list[Trial] = []
            for candidate in candidates:
                best_s = min((trial.median_s for trial in done + tried), default=math.inf)
                tried.append(
                    _try(candidate, target, session, Path(folder) / f"{time.time_ns()}.so", how, best_s)
                )
            search.learn(candidates, tried)
            done += tried
    return Tuned(key, tuple(done), search.sampling_s, search.evolution_s)


def build(mod: Any, target: Any, path: Path) -> None:
    """Compile and link in this process, as TVM's builder does. Raises what TVM and the linker raise."""
    mod = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod)
    tvm.compile(mod, target).export_library(str(path))


def _build_apart(mod: Any, target: Any, path: Path) -> str | None:
    """Build in a fork, with TVM's time limit; returns what went wrong."""
    ours, its = _FORK.Pipe(duplex=False)

    def run() -> None:
        try:
            build(mod, target, path)
        except Exception as error:  # of many types; TVM's builder takes them all for a failed candidate, too
            its.send(brief(error))
        os._exit(0)

    process = _FORK.Process(target=run)
    process.start()
    process.join(BUILD_LIMIT_S)
    if process.exitcode is None:
        process.kill()
        process.join()
        return f"not built within {BUILD_LIMIT_S:g} s"
    if ours.poll():
        return str(ours.recv())
    return None if path.exists() else f"the build ended with {process.exitcode}"


def _try(candidate: Any, target: Any, session: Any, path: Path, how: RunSettings, best_s: float) -> Trial:
    schedule, started = trace_text(candidate.sch), time.perf_counter()
    if error := _build_apart(candidate.sch.mod, target, path):
        return Trial(schedule=schedule, error=error, build_s=time.perf_counter() - started)
    build_s = time.perf_counter() - started
    run = run_kernel(session, path, candidate.args_info, how, best_s=best_s)
    path.unlink()
    return Trial(
        schedule=schedule,
        samples_s=run.samples_s,
        error=run.error,
        build_s=build_s,
        upload_s=run.upload_s,
        run_s=run.run_s,
    )


class _Search:
    """MetaSchedule's search with its own settings; what its task scheduler would do, by hand."""

    def __init__(self, mod: Any, target: Any, trials: int, seed: int) -> None:
        started = time.perf_counter()
        self._target = target
        self._context = ms.TuneContext(
            mod,
            target=target,
            space_generator=ms.space_generator.PostOrderApply(None, "llvm", "llvm", "llvm"),
            search_strategy="evolutionary",
            num_threads="physical",
            rand_state=1 + seed,
            logger=_log,
        )
        threads = self._context.num_threads
        self._model = ms.cost_model.CostModel.create("xgb", num_tuning_cores=threads, tree_method="auto")
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(mod)
        self._context.pre_tuning(
            trials, num_trials_per_iter=ROUND, database=self._database, cost_model=self._model
        )
        self.sampling_s, self.evolution_s = time.perf_counter() - started, 0.0

    def propose(self) -> list[Any]:
        """The next round; empty at the end of the search or of the design space."""
        with ms.Profiler() as profiler:
            candidates = self._context.generate_measure_candidates() or []
        phases = {name: float(seconds) for name, seconds in profiler.get().items()}
        evolving_s = sum(s for name, s in phases.items() if name.startswith("EvoSearch/Evolve/"))
        self.sampling_s += phases["Total"] - evolving_s
        self.evolution_s += evolving_s
        return list(candidates)

    def learn(self, candidates: Sequence[Any], trials: Sequence[Trial]) -> None:
        started = time.perf_counter()
        results = [ms.runner.RunnerResult(list(t.samples_s) or None, t.error) for t in trials]
        for candidate, trial in zip(candidates, trials, strict=True):
            if trial.samples_s:
                record = ms.database.TuningRecord(
                    candidate.sch.trace,
                    self._workload,
                    list(trial.samples_s),
                    self._target,
                    candidate.args_info,
                )
                self._database.commit_tuning_record(record)
        self._model.update(self._context, candidates, results)
        self._context.notify_runner_results(candidates, results)
        self.evolution_s += time.perf_counter() - started
