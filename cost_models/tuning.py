"""Finds a fast schedule for one kernel: MetaSchedule proposes, the pool builds, the device decides.

MetaSchedule's own scheduler is not used: it measures again what an interrupted run has measured, and its
defaults (population 512, 4 generations) spend most of the time proposing.
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cost_models.building import BuildPool, BuildResult, brief
from cost_models.errors import CostModelError
from cost_models.records import Trial
from cost_models.running import RunResult, arguments_of
from cost_models.tvm_import import ms, tvm

_log = logging.getLogger(f"{__name__}.metaschedule")
_log.setLevel(logging.WARNING)  # it reports every generation otherwise
_MAX_IDLE_ROUNDS = 3  # rounds in a row without a new candidate: the design space is used up

Measure = Callable[[Path, Sequence[Any], float], RunResult]
"""``Runner.measure``: shared object, arguments, best so far in seconds a run (infinite at first)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How candidates are proposed.

    Attributes:
        round_size: candidates built and measured between two updates of the cost model.
        population: schedules that evolve in each round.
        generations: of the evolution; 0 takes the best of the population as it was drawn.
        random_trials: before there are so many, the cost model guesses.
        threads: of MetaSchedule. Above 1, its random numbers depend on which thread is first.
    """

    round_size: int = 16
    population: int = 64
    generations: int = 2
    random_trials: int = 16
    threads: int = 1

    @classmethod
    def for_trials(cls, trials: int) -> "SearchSettings":
        """Settings for a kernel that gets so many trials.

        While the cost model guesses, evolving a population is wasted: 0.1 s instead of 3 s a round.
        """
        if trials > cls().random_trials:
            return cls()
        return cls(round_size=max(trials, 1), population=2 * max(trials, 1), generations=0)

    def __post_init__(self) -> None:
        for name in ("round_size", "population", "threads"):
            if getattr(self, name) < 1:
                raise CostModelError(f"SearchSettings.{name} must be >= 1, found {getattr(self, name)}")
        if self.generations < 0:
            raise CostModelError(f"SearchSettings.generations must be >= 0, found {self.generations}")


def tune(
    mod: Any,
    target: Any,
    *,
    trials: int,
    build_pool: BuildPool,
    measure: Measure,
    history: Sequence[Trial] = (),
    on_trial: Callable[[Trial], None] = lambda trial: None,
    settings: SearchSettings | None = None,
    seed: int = 0,
) -> list[Trial]:
    """Try schedules of one kernel until there are ``trials``, those of ``history`` included.

    Args:
        mod: IRModule whose only function is the kernel, ``main``.
        target: TVM target with ``num-cores`` where its kind has that.
        history: trials of an earlier run; they steer the search and are not repeated.
        on_trial: called with each new trial as soon as it is measured. What it raises ends the search.
        seed: same seed, same history and ``settings.threads`` 1: same first round.

    Returns:
        ``history`` and the new trials. Fewer than ``trials`` when the kernel has no more distinct schedules.

    Raises:
        CostModelError: a trial of ``history`` belongs to another kernel.
    """
    settings = settings or SearchSettings()
    done = list(history)
    if len(done) >= trials:
        return done
    search = _Search(mod, target, settings, seed + len(done))
    search.learn([search.replay(trial) for trial in done], done)
    best_s = min((trial.median_s for trial in done), default=math.inf)
    while len(done) < trials and (candidates := search.propose(trials - len(done))):
        builds = build_pool.build([candidate.sch.mod for candidate in candidates], target)
        tried = []
        for candidate, build in zip(candidates, builds, strict=True):
            trial = _measured(candidate, build, measure, best_s)
            best_s = min(best_s, trial.median_s)
            tried.append(trial)
            on_trial(trial)
        search.learn(candidates, tried)
        done += tried
    return done


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest median; ``None`` when none has samples."""
    return min((trial for trial in trials if trial.error is None), key=lambda t: t.median_s, default=None)


def apply_trace(mod: Any, trace: str) -> Any:
    """The kernel ``mod`` (IRModule with one function ``main``) scheduled as ``Trial.trace`` says.

    Raises:
        CostModelError: the trace does not fit this kernel.
    """
    return _replayed(mod, trace).mod


def _replayed(mod: Any, trace: str) -> Any:
    schedule = tvm.s_tir.Schedule(mod)
    try:
        tvm.s_tir.schedule.Trace.apply_json_to_schedule(json.loads(trace), schedule)
    except Exception as error:
        raise CostModelError(
            f"this schedule does not fit the kernel {mod['main'].attrs}: {brief(error)}. "
            "It was found for another kernel or by another TVM: tune this one anew."
        ) from error
    return schedule


def _trace_text(schedule: Any) -> str:
    return json.dumps(_plain(schedule.trace.as_json()), separators=(",", ":"))


def _plain(value: Any) -> Any:
    """TVM's containers and numbers as Python's own, which ``json`` knows."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value.value  # IntImm, FloatImm


def _measured(candidate: Any, build: BuildResult, measure: Measure, best_s: float) -> Trial:
    trace = _trace_text(candidate.sch)
    if build.path is None:
        return Trial(trace=trace, error=build.error, build_s=build.build_s)
    try:
        run = measure(build.path, candidate.args_info, best_s)
    finally:
        build.path.unlink(missing_ok=True)
    return Trial(
        trace=trace, samples_s=run.samples_s, error=run.error, build_s=build.build_s, run_s=run.run_s
    )


class _Search:
    """MetaSchedule's evolutionary search, asked and told by hand."""

    def __init__(self, mod: Any, target: Any, settings: SearchSettings, seed: int) -> None:
        self._mod, self._target, self._settings = mod, target, settings
        self._args_info = arguments_of(mod)
        self._context = ms.TuneContext(
            mod,
            target=target,
            space_generator=_space(target),
            search_strategy=ms.search_strategy.EvolutionarySearch(
                population_size=settings.population,
                init_min_unmeasured=1,  # the default 50 ends the search of small kernels
                genetic_num_iters=settings.generations,
            ),
            rand_state=1 + seed % (2**31 - 2),
            num_threads=settings.threads,
            logger=_log,
        )
        self._model = _Model(settings, seed)
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(mod)
        self._context.pre_tuning(
            max_trials=2**31 - 1,  # the caller counts
            num_trials_per_iter=settings.round_size,
            database=self._database,
            cost_model=self._model,
        )
        self._seen: set[str] = set()

    def replay(self, trial: Trial) -> Any:
        """The candidate that gave ``trial``."""
        return ms.MeasureCandidate(_replayed(self._mod, trial.trace), self._args_info)

    def propose(self, at_most: int) -> list[Any]:
        """New candidates, no two alike; none when the design space is used up."""
        for _ in range(_MAX_IDLE_ROUNDS):
            proposed = self._context.generate_measure_candidates() or []
            new = {ms.utils.shash2hex(candidate.sch.mod): candidate for candidate in proposed}
            fresh = [candidate for key, candidate in new.items() if key not in self._seen][:at_most]
            if fresh:
                return fresh
        return []

    def learn(self, candidates: list[Any], trials: Sequence[Trial]) -> None:
        """Tell database, cost model and search what the candidates gave."""
        if not candidates:
            return
        self._seen |= {ms.utils.shash2hex(candidate.sch.mod) for candidate in candidates}
        results = []
        for candidate, trial in zip(candidates, trials, strict=True):
            results.append(ms.runner.RunnerResult(list(trial.samples_s) or None, trial.error))
            if trial.samples_s:
                record = ms.database.TuningRecord(
                    candidate.sch.trace, self._workload, list(trial.samples_s), self._target, self._args_info
                )
                self._database.commit_tuning_record(record)
        self._model.update(self._context, candidates, results)
        self._context.notify_runner_results(candidates, results)


@tvm.ir.utils.derived_object
class _Model(ms.cost_model.PyCostModel):  # type: ignore[misc]
    """Random at first, from a generator of its own; then MetaSchedule's boosted trees."""

    def __init__(self, settings: SearchSettings, seed: int) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.random_trials = settings.random_trials
        config = ms.cost_model.xgb_model.XGBConfig(seed=seed % 2**31, nthread=settings.threads)
        # Stop after ten trees without progress: there are some hundred samples.
        self.trees = ms.cost_model.XGBModel(config=config, num_warmup_samples=0, early_stopping_rounds=10)

    def update(self, context: Any, candidates: list[Any], results: list[Any]) -> None:
        self.trees.update(context, candidates, results)

    def predict(self, context: Any, candidates: list[Any]) -> Any:
        if self.trees.data_size < self.random_trials or self.trees.booster is None:
            return self.random.uniform(size=len(candidates))
        return self.trees.predict(context, candidates)


def _space(target: Any) -> Any:
    """Rules of the target's kind; those by CPU or GPU feature add int8 and fp16 intrinsics, and seconds."""
    kind = target.kind.name if target.kind.name in ("llvm", "cuda") else "from-target"
    return ms.space_generator.PostOrderApply(sch_rules=kind, postprocs=kind, mutator_probs=kind)
