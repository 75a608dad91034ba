"""MetaSchedule's evolutionary search of one kernel's schedules, asked and told by hand.

MetaSchedule's own scheduler is not used: it measures again what an interrupted run has measured, and its
defaults (population 512, 4 generations) spend most of the time proposing.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cost_models.database.records import Trial
from cost_models.runner.runner import arguments_of
from cost_models.schedules.serialization import Proposal, replay_trace, trace_text
from cost_models.tuning.named_rules import register_named_rules
from cost_models.tuning.settings import SearchSettings
from cost_models.tvm_import import ms, tvm
from targets.support.text import brief

_log = logging.getLogger(__name__)
_MAX_IDLE_ROUNDS = 3  # rounds in a row without a new candidate: the design space is used up
_EVOLVING = "EvoSearch/Evolve/"  # phases of MetaSchedule's profiler


class Evolution:
    """Schedules that MetaSchedule's rules make of a kernel, for any kind of target.

    Attributes:
        sampling_s: time spent on the design space and on drawing random members of the population.
        evolution_s: time spent on mutating and ranking them and on training the cost model.
    """

    origin = "evolution"

    def __init__(self, mod: Any, tvm_target: Any, settings: SearchSettings, seed: int) -> None:
        started = time.perf_counter()
        self._mod, self._target = mod, tvm_target
        self._args_info = arguments_of(mod)
        self._context = ms.TuneContext(
            mod,
            target=tvm_target,
            space_generator=_space(tvm_target),
            search_strategy=ms.search_strategy.EvolutionarySearch(
                population_size=settings.population,
                init_min_unmeasured=1,  # the default 50 ends the search of small kernels
                genetic_num_iters=settings.generations,
            ),
            rand_state=1 + seed % (2**31 - 2),
            num_threads=settings.threads,
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
        self._spare: list[Any] = []  # MetaSchedule never proposes again what it has proposed
        self._proposed: dict[str, Any] = {}  # text -> candidate, until its trial comes
        self._seen: set[str] = set()
        self.sampling_s = time.perf_counter() - started
        self.evolution_s = 0.0

    def propose(self, at_most: int) -> list[Proposal]:
        """New schedules, the most promising first, no two alike; none when the design space is used up."""
        if len(self._spare) < at_most:
            self._spare += self._evolve()
        if not self._spare:
            return []
        scores = self._model.predict(self._context, self._spare)
        ranked = [self._spare[i] for i in np.argsort(-np.asarray(scores), kind="stable")]
        chosen, self._spare = ranked[:at_most], ranked[at_most:]
        texts = [trace_text(candidate.sch) for candidate in chosen]
        self._proposed.update(zip(texts, chosen, strict=True))
        return [
            Proposal(schedule=text, mod=candidate.sch.mod, origin=self.origin)
            for text, candidate in zip(texts, chosen, strict=True)
        ]

    def learn(self, trials: Sequence[Trial]) -> None:
        """Tell database, cost model and search what schedules of this kernel gave, whoever proposed them.

        Raises:
            CostModelError: a trace does not fit the kernel.
        """
        if not trials:
            return
        started = time.perf_counter()
        candidates, results = [], []
        for trial in trials:
            candidate = self._proposed.pop(trial.schedule, None)
            if candidate is None:
                candidate = ms.MeasureCandidate(replay_trace(self._mod, trial.schedule), self._args_info)
            self._seen.add(ms.utils.shash2hex(candidate.sch.mod))
            samples = list(trial.samples_s)
            candidates.append(candidate)
            results.append(ms.runner.RunnerResult(samples or None, trial.error))
            if samples:
                self._database.commit_tuning_record(
                    ms.database.TuningRecord(
                        candidate.sch.trace, self._workload, samples, self._target, self._args_info
                    )
                )
        self._model.update(self._context, candidates, results)
        self._context.notify_runner_results(candidates, results)
        self.evolution_s += time.perf_counter() - started

    def _evolve(self) -> list[Any]:
        """Candidates that were not there before; none when the design space is used up."""
        for _ in range(_MAX_IDLE_ROUNDS):
            with ms.Profiler() as profiler:
                proposed = self._generated()
            phases = {name: float(seconds) for name, seconds in profiler.get().items()}
            evolving_s = sum(s for name, s in phases.items() if name.startswith(_EVOLVING))
            self.evolution_s += evolving_s
            self.sampling_s += phases["Total"] - evolving_s
            new = {ms.utils.shash2hex(candidate.sch.mod): candidate for candidate in proposed}
            fresh = [candidate for key, candidate in new.items() if key not in self._seen]
            self._seen |= new.keys()
            if fresh:
                return fresh
        return []

    def _generated(self) -> list[Any]:
        """A generation; none where TVM fails at it: a mutated trace need not replay, and ends all of it."""
        try:
            return self._context.generate_measure_candidates() or []
        except RuntimeError as error:
            _log.info("a generation of schedules is lost: %s", brief(error))
            return []


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
    register_named_rules()
    kind = target.kind.name if target.kind.name in ("llvm", "cuda") else "from-target"
    return ms.space_generator.PostOrderApply(sch_rules=kind, postprocs=kind, mutator_probs=kind)
