"""Tunes and times kernels on one target and stores every result: the engine of ``profile`` and ``deploy``.

The way of one `measure`: every kernel is timed with its default schedule; then what others tell of schedules
(imported ones) is tried; then the kernels that the effort says are searched, and lend their best schedules to
the others; where that is poor, the others are searched, too; the best schedules found are timed carefully,
beside the default one.
"""

import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from cost_models.database.records import ReferenceRun
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.roofline import PhysicalModel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.profiling.context import MeasureContext
from cost_models.profiling.finalists import BATCH, time_again, time_defaults, time_disturbed, time_finalists
from cost_models.tuning import told
from cost_models.tuning.adaptation import Adapted
from cost_models.tuning.effort import Effort
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings
from cost_models.tuning.scheduler import TuningTask
from cost_models.tuning.transfer import Plan, fallbacks, lent, plan

_log = logging.getLogger(__name__)
_OTHER_SPEED = 1.15  # between runs: more than ordinary noise
_VISIT_S = 0.5  # at most, of a visit after the first


def measure(
    context: MeasureContext,
    kernels: Sequence[Kernel],
    effort: Effort,
    tick: Callable[[], None] = lambda: None,
    *,
    settings: SearchSettings | None = None,
    seed: int = 0,
) -> None:
    """Bring kernels to what the effort asks for.

    Everything is stored as it comes; what the store has already is not done again. Ctrl-C is heard at once:
    the work is done in a thread of its own.

    Args:
        kernels: distinct ones.
        tick: called several times a second, in the caller's thread, to show the context's ``status``.
        settings: of the searches; by the number of trials when None.
        seed: of the searches.

    Raises:
        NoBoardLeft, StoreError, CostModelError: all that was measured before is stored; another context goes
            on from there.
    """
    run = _Run(context, effort, settings, seed)
    context.apart(partial(run.measure, list(kernels)), tick)


@dataclass(frozen=True)
class _Run:
    """One `measure`: what is to be spent on each kernel, on what."""

    context: MeasureContext
    effort: Effort
    settings: SearchSettings | None
    seed: int

    def measure(self, kernels: list[Kernel]) -> None:
        """All of it, from the default schedules to the timings of the best."""
        context, effort, status = self.context, self.effort, self.context.status
        for kernel in kernels:
            context.history.store.add_kernel(kernel.key, kernel.description)
        status.begin(kernels)
        _note_speed(context)
        status.phase = "timing default schedules"
        missing = [kernel for kernel in kernels if math.isinf(context.history.default_s(kernel))]
        time_defaults(context, missing, effort.timing_s)
        status.done = len(kernels) if not effort.trials else 0
        if effort.trials:
            self._try_told(kernels)
        if effort.transfers:
            self._by_transfer(plan(kernels, effort))
        elif effort.trials:
            self._search_all("searching", {kernel: effort.trials for kernel in kernels})
        status.phase = "timing the best schedules"
        time_finalists(context, kernels, effort.timing_s)
        status.phase = "timing again what was disturbed"
        time_disturbed(context, kernels, effort.timing_s)
        for visit in range(2, effort.visits + 1):
            status.phase = f"timing again, visit {visit} of {effort.visits}"
            time_again(context, kernels, visit, min(effort.timing_s, _VISIT_S))
        status.done = len(kernels)

    def _try_told(self, kernels: Sequence[Kernel]) -> None:
        """Try what others tell to be fast; once tried it is a trial like any other."""
        history, tasks = self.context.history, []
        for kernel in kernels:
            best = list(history.told(kernel))[: min(told.MOST, self.effort.trials)]
            tried = {trial.schedule for trial in history.trials(kernel).values()} if best else set()
            if new := [text for text in best if text not in tried]:
                source = partial(self._open_told, kernel, new)
                tasks.append(TuningTask(kernel, source, len(new), history.fastest_s(kernel)))
        self._carry_out("trying what others tell", tasks)

    def _open_told(self, kernel: Kernel, schedules: Sequence[str]) -> told.Told:
        return told.Told(kernel_module(kernel, self.context.tvm_target, self.context.dtype), schedules)

    def _by_transfer(self, plan: Plan) -> None:
        history = self.context.history
        self._search_all("searching anchors", plan.anchors)
        self._adapt({kernel: self._borrow(kernel, plan) for kernel in plan.neighbours}, plan.transfers)
        kernels = [*plan.anchors, *plan.neighbours]
        spent = sum(map(history.tried, kernels))
        seconds = {kernel: history.fastest_s(kernel) for kernel in kernels}
        known = {kernel: latency_s for kernel, latency_s in seconds.items() if math.isfinite(latency_s)}
        if known:
            model = PhysicalModel.fit(list(known), list(known.values()))
            poor = fallbacks(plan, self.effort, seconds, model, plan.total - spent)
            wanted = {kernel: history.tried(kernel) + new for kernel, new in poor.items()}
            self._search_all("searching where transfer is poor", wanted)

    def _search_all(self, phase: str, wanted: Mapping[Kernel, int]) -> None:
        """Bring kernels to so many trials."""
        history, tasks = self.context.history, []
        for kernel, trials in wanted.items():
            new = trials - history.tried(kernel)
            if new > 0:
                search = partial(self._open_search, kernel, trials)
                tasks.append(TuningTask(kernel, search, new, history.fastest_s(kernel)))
        self._carry_out(phase, tasks)

    def _open_search(self, kernel: Kernel, trials: int) -> KernelSearch:
        context = self.context
        return KernelSearch(
            kernel_module(kernel, context.tvm_target, context.dtype),
            context.tvm_target,
            self.settings or SearchSettings.for_trials(trials),
            self.seed,
            list(context.history.trials(kernel).values()),
        )

    def _borrow(self, kernel: Kernel, plan: Plan) -> list[str]:
        """Schedules of a kernel's donors, the most promising first."""
        history = self.context.history
        return lent([list(history.trials(donor).values()) for donor in plan.neighbours[kernel]])

    def _adapt(self, lent: Mapping[Kernel, Sequence[str]], transfers: int) -> None:
        """Try other kernels' schedules on kernels, so many on each."""
        history, tasks = self.context.history, []
        for kernel, schedules in lent.items():
            tried = history.trials(kernel).values()
            new = transfers - sum(trial.origin == "transfer" for trial in tried)
            if new > 0 and schedules:
                known = {trial.schedule for trial in tried}
                adapted = partial(self._open_adapted, kernel, schedules, known)
                tasks.append(TuningTask(kernel, adapted, new, history.fastest_s(kernel)))
        self._carry_out("adapting schedules", tasks)

    def _open_adapted(self, kernel: Kernel, schedules: Sequence[str], known: set[str]) -> Adapted:
        tvm_target = self.context.tvm_target
        mod = kernel_module(kernel, tvm_target, self.context.dtype)
        return Adapted(mod, tvm_target, schedules, known)

    def _carry_out(self, phase: str, tasks: Sequence[TuningTask]) -> None:
        """Run tasks; the best schedules of kernels that are through are timed now and then."""
        status = self.context.status
        status.phase = phase
        status.planned += sum(task.wanted for task in tasks)
        finished: list[Kernel] = []

        def finish(task: TuningTask) -> None:
            status.planned -= task.wanted - len(task.trials)  # it may have had fewer schedules
            work = status.work[task.kernel]
            work.sampling_s += task.sampling_s
            work.evolution_s += task.evolution_s
            finished.append(task.kernel)
            if len(finished) == BATCH:
                self._settle(finished)

        self.context.engine.run(tasks, finish)
        self._settle(finished)

    def _settle(self, finished: list[Kernel]) -> None:
        time_finalists(self.context, finished, self.effort.timing_s)
        status = self.context.status
        status.done = min(status.done + len(finished), status.total)
        finished.clear()


def _note_speed(context: MeasureContext) -> None:
    """Store the reference kernel's time on each board; warn when the machine is not what it was."""
    store, environment = context.history.store, context.history.environment
    earlier = [run.median_s for run in store.references(environment).values()]
    for board in context.fleet.boards():
        if board.probe_s is None:
            continue
        run = ReferenceRun(board=board.name, samples_s=(board.probe_s,))
        store.add_reference(environment, run)
        usual_s = statistics.median(earlier) if earlier else board.probe_s
        if not 1 / _OTHER_SPEED < board.probe_s / usual_s < _OTHER_SPEED:
            _log.warning(
                "%s runs the reference kernel in %.3f ms; for earlier results it took %.3f ms: "
                "other load, clocks or power mode; old and new latencies do not compare",
                board.name,
                board.probe_s * 1e3,
                usual_s * 1e3,
            )
