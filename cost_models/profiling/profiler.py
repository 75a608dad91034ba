"""Tunes and times kernels on one target and stores every result: the engine of ``profile`` and ``deploy``.

The way of one ``measure``: every kernel is timed with its default schedule; then the kernels that the effort
says are searched, and lend their best schedules to the others; where that is poor, the others are searched,
too; the best schedules found are timed carefully, beside the default one.
"""

import contextlib
import logging
import math
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TypeVar

from cost_models.builder.pool import BuildPool
from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.records import ReferenceRun, Trial
from cost_models.database.store import MeasurementStore
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.roofline import PhysicalModel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.onnx_io.exporter import DTYPES
from cost_models.profiling.finalists import BATCH, CarefulTimer
from cost_models.profiling.status import Status, Work
from cost_models.runner.reference import Reference
from cost_models.tuning.adaptation import Adapted
from cost_models.tuning.effort import Effort
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings
from cost_models.tuning.scheduler import TRIAL_SETTINGS, Engine, Task
from cost_models.tuning.transfer import Plan, fallbacks, lent, plan
from targets import BoardState, Fleet, Target, parse_address
from targets.toolchain.tools import find_tools

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_OTHER_SPEED = 1.15  # between runs: more than ordinary noise
_SESSION_S = 300.0


class Profiler:
    """Measures kernels; a context manager that holds the boards and the build processes.

    Everything is stored as it comes; what the store has already is not done again. Ctrl-C is heard at once:
    the work is done in a thread of its own.

    Args:
        dtype: ``float32`` or ``float16``, of kernels; the reference kernel is float32 in any case.
        tracker: HOST:PORT of a TVM tracker, all of whose boards of the target's key are used; for a local
            target None starts tracker and server on loopback and stops them at the end.
        wait_s: how long to wait for the first board, and for the return of boards when all are lost.
        settings: of the searches; by the number of trials when None.
        seed: of the searches.

    Attributes:
        environment: digest under which results are stored.
        pool, fleet, tools: while it is entered.
        status: of the ``measure`` under way or done.
    """

    def __init__(
        self,
        target: Target,
        store: MeasurementStore,
        *,
        dtype: str = "float32",
        tracker: str | None = None,
        wait_s: float = 30.0,
        settings: SearchSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.target, self.store, self.dtype = target, store, dtype
        self.fingerprint = environment(target, dtype)
        if dtype not in DTYPES:
            raise CostModelError(f"dtype {dtype}: this release measures {' and '.join(DTYPES)} only")
        if tracker is not None:
            parse_address(tracker)
        self.tvm_target = target.tvm_target()
        self.environment = store.add_environment(self.fingerprint)
        self.status = Status()
        self.history = History(store, self.environment)
        self._tracker, self._wait_s = tracker, wait_s
        self._search, self._seed = settings, seed
        self._counting = threading.Lock()
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> "Profiler":
        with contextlib.ExitStack() as stack:
            self.tools = find_tools(self.target, self.dtype)
            self.tools.install()
            pool = stack.enter_context(BuildPool.of(self.tools))
            reference = Reference.build(pool, self.tvm_target)
            timeout_s = self.target.measure.timeout_s
            fleet = Fleet(
                self.target,
                self._tracker,
                probe=reference.probe,
                session_s=max(_SESSION_S, 2 * timeout_s),
                wait_s=self._wait_s,
            )
            self.pool, self.fleet = pool, stack.enter_context(fleet)
            trial_settings = replace(TRIAL_SETTINGS, timeout_s=timeout_s)
            in_turns = self.target.kind == "local"
            self._engine = Engine(
                pool, self.fleet, self.tvm_target, self._keep, in_turns=in_turns, settings=trial_settings
            )
            self.timer = CarefulTimer(
                self.target, pool, self.fleet, reference, self.history, self._engine.check, dtype=self.dtype
            )
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def current(self) -> tuple[Task, ...]:
        """Kernels being searched now."""
        return self._engine.current

    @property
    def boards(self) -> tuple[BoardState, ...]:
        """All boards seen so far."""
        return self.fleet.boards()

    def measure(
        self, kernels: Sequence[Kernel], effort: Effort, tick: Callable[[], None] = lambda: None
    ) -> None:
        """Bring kernels to what the effort asks for.

        Args:
            kernels: distinct ones.
            tick: called several times a second, in the caller's thread, to show ``status``.

        Raises:
            NoBoardLeft, StoreError, CostModelError: all that was measured before is stored; another Profiler
                goes on from there.
        """
        self.apart(partial(self._measure, list(kernels), effort), tick)

    def apart(self, work: Callable[[], _T], tick: Callable[[], None] = lambda: None) -> _T:
        """Do ``work`` in a thread, so that this one hears Ctrl-C."""
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        threading.Thread(target=run, name="profiler", daemon=True).start()
        try:
            while not wait([done], 0.2).done:
                tick()
            tick()
        except BaseException:
            self._engine.stop()
            self.fleet.cancel()
            wait([done])  # Thread.join that Ctrl-C interrupts takes the thread for ended, up to Python 3.12
            raise
        return done.result()

    def check(self) -> None:
        """Raise Stopped where ``apart`` was left: long work asks now and then."""
        self._engine.check()

    def _measure(self, kernels: list[Kernel], effort: Effort) -> None:
        for kernel in kernels:
            self.store.add_kernel(kernel.key, kernel.description)
        self.status = Status(total=len(kernels), work={kernel: Work() for kernel in kernels})
        self._note_speed()
        self.timer.limit(effort.timing_s)
        self.status.phase = "timing default schedules"
        missing = [kernel for kernel in kernels if math.isinf(self.history.default_s(kernel))]
        self.timer.time_defaults(missing, self.status)
        self.status.done = len(kernels) if not effort.trials else 0
        if effort.transfers:
            self._by_transfer(plan(kernels, effort), effort)
        elif effort.trials:
            self._search_all("searching", {kernel: effort.trials for kernel in kernels})
        self.status.phase = "timing the best schedules"
        self.timer.time_finalists(kernels, self.status)
        self.status.phase = "timing again what was disturbed"
        self.timer.time_disturbed(kernels, self.status)
        self.status.done = len(kernels)

    def _by_transfer(self, plan: Plan, effort: Effort) -> None:
        self._search_all("searching anchors", plan.anchors)
        self._adapt({kernel: self._borrow(kernel, plan) for kernel in plan.neighbours}, plan.transfers)
        kernels = [*plan.anchors, *plan.neighbours]
        spent = sum(map(self.history.tried, kernels))
        seconds = {kernel: self.history.fastest_s(kernel) for kernel in kernels}
        known = {kernel: latency_s for kernel, latency_s in seconds.items() if math.isfinite(latency_s)}
        if known:
            model = PhysicalModel.fit(list(known), list(known.values()))
            poor = fallbacks(plan, effort, seconds, model, plan.total - spent)
            wanted = {kernel: self.history.tried(kernel) + new for kernel, new in poor.items()}
            self._search_all("searching where transfer is poor", wanted)

    def _search_all(self, phase: str, wanted: Mapping[Kernel, int]) -> None:
        """Bring kernels to so many trials."""
        tasks = []
        for kernel, trials in wanted.items():
            new = trials - self.history.tried(kernel)
            if new > 0:
                search = partial(self._open_search, kernel, trials)
                tasks.append(Task(kernel, search, new, self.history.fastest_s(kernel)))
        self._carry_out(phase, tasks)

    def _open_search(self, kernel: Kernel, trials: int) -> KernelSearch:
        return KernelSearch(
            kernel_module(kernel, self.tvm_target, self.dtype),
            self.tvm_target,
            self._search or SearchSettings.for_trials(trials),
            self._seed,
            list(self.history.trials(kernel).values()),
        )

    def _borrow(self, kernel: Kernel, plan: Plan) -> list[str]:
        """Schedules of a kernel's donors, the most promising first."""
        return lent([list(self.history.trials(donor).values()) for donor in plan.neighbours[kernel]])

    def _adapt(self, lent: Mapping[Kernel, Sequence[str]], transfers: int) -> None:
        """Try other kernels' schedules on kernels, so many on each."""
        tasks = []
        for kernel, schedules in lent.items():
            tried = self.history.trials(kernel).values()
            new = transfers - sum(trial.origin == "transfer" for trial in tried)
            if new > 0 and schedules:
                known = {trial.schedule for trial in tried}
                adapted = partial(self._open_adapted, kernel, schedules, known)
                tasks.append(Task(kernel, adapted, new, self.history.fastest_s(kernel)))
        self._carry_out("adapting schedules", tasks)

    def _open_adapted(self, kernel: Kernel, schedules: Sequence[str], known: set[str]) -> Adapted:
        mod = kernel_module(kernel, self.tvm_target, self.dtype)
        return Adapted(mod, self.tvm_target, schedules, known)

    def _carry_out(self, phase: str, tasks: Sequence[Task]) -> None:
        """Run tasks; the best schedules of kernels that are through are timed now and then."""
        self.status.phase = phase
        self.status.planned += sum(task.wanted for task in tasks)
        finished: list[Kernel] = []

        def finish(task: Task) -> None:
            self.status.planned -= task.wanted - len(task.trials)  # it may have had fewer schedules
            work = self.status.work[task.kernel]
            work.sampling_s += task.sampling_s
            work.evolution_s += task.evolution_s
            finished.append(task.kernel)
            if len(finished) == BATCH:
                self._settle(finished)

        self._engine.run(tasks, finish)
        self._settle(finished)

    def _settle(self, finished: list[Kernel]) -> None:
        self.timer.time_finalists(finished, self.status)
        self.status.done = min(self.status.done + len(finished), self.status.total)
        finished.clear()

    def _keep(self, kernel: Kernel, trial: Trial) -> None:
        """Store a trial; in the thread of its board."""
        self.store.add_trial(self.environment, kernel.key, trial)
        with self._counting:
            self.status.trials += 1
            self.status.work[kernel].count(trial)

    def _note_speed(self) -> None:
        """Store the reference kernel's time on each board; warn when the machine is not what it was."""
        earlier = [run.median_s for run in self.store.references(self.environment).values()]
        for board in self.boards:
            if board.probe_s is None:
                continue
            run = ReferenceRun(board=board.name, samples_s=(board.probe_s,))
            self.store.add_reference(self.environment, run)
            usual_s = statistics.median(earlier) if earlier else board.probe_s
            if not 1 / _OTHER_SPEED < board.probe_s / usual_s < _OTHER_SPEED:
                _log.warning(
                    "%s runs the reference kernel in %.3f ms; for earlier results it took %.3f ms: "
                    "other load, clocks or power mode; old and new latencies do not compare",
                    board.name,
                    board.probe_s * 1e3,
                    usual_s * 1e3,
                )
