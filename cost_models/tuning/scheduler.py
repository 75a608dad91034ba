"""Searches schedules of many kernels at once, so that no core and no board waits for another part.

    proposing (this thread) ──▶ BuildPool ──▶ Fleet ──▶ keep ──▶ learning (this thread)

While candidates of one kernel build and run, the next kernels propose theirs. Boards run beside all that. A
machine that measures on itself takes turns: it proposes and builds on all cores, then it stops building, runs
what is there, and goes on. Builds of low priority beside a timing would disturb it less than others do, but
starve wherever anything else wants the cores.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cost_models.builder.pool import BuildPool, BuildResult
from cost_models.database.records import Trial
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.runner.outcome import checked, outcome, remove
from cost_models.runner.runner import RunResult, RunSettings, arguments_of, run_kernel
from cost_models.schedules.serialization import Proposal
from targets import Done, Fleet, TargetError

TRIAL_SETTINGS = RunSettings(number=1, repeat=3, min_repeat_s=0.005)
ACTIVE = 3  # kernels in work at a time: one proposes while the others' candidates build and run
IN_TURN = 16  # candidates that run between two stretches of building
_POLL_S = 0.2


class CandidateSource(Protocol):
    """Where candidates come from: a `KernelSearch`, or `Adapted` schedules; its times in seconds."""

    @property
    def sampling_s(self) -> float: ...

    @property
    def evolution_s(self) -> float: ...

    def propose(self, at_most: int) -> list[Proposal]:
        """New candidates; none when there are no more."""

    def learn(self, proposals: Sequence[Proposal], trials: Sequence[Trial]) -> None:
        """What they gave."""


class Stopped(CostModelError):
    """The engine was told to stop; all that was measured is stored."""


@dataclass(eq=False)
class TuningTask:
    """A kernel and the trials it is to get.

    Attributes:
        open: makes the source when the kernel's turn comes; a search takes a while to set up.
        wanted: new trials at most.
        known_s: fastest schedule known before, the default one included; infinite where there is none.
        trials: new trials, in the order in which they were measured.
        sampling_s, evolution_s: what proposing took.
    """

    kernel: Kernel
    open: Callable[[], CandidateSource]
    wanted: int
    known_s: float
    trials: list[Trial] = field(default_factory=list)
    sampling_s: float = 0.0
    evolution_s: float = 0.0
    _source: CandidateSource | None = None
    round: list[Proposal] = field(default_factory=list)
    _results: dict[int, Trial] = field(default_factory=dict)

    def propose(self, at_most: int) -> list[Proposal]:
        """The next round; empty when the kernel is done."""
        if len(self.trials) >= self.wanted:
            return []
        self._source = self._source or self.open()
        self.round = self._source.propose(min(at_most, self.wanted - len(self.trials)))
        self._results = {}
        return self.round

    @property
    def best_s(self) -> float:
        """Fastest schedule known."""
        return min([self.known_s, *(trial.median_s for trial in self.trials)])

    @property
    def left(self) -> int:
        """Candidates of its round that are still being built or measured."""
        return len(self.round) - len(self._results)

    def has(self, index: int) -> bool:
        """Whether this candidate of its round has its result."""
        return index in self._results

    def receive(self, index: int, trial: Trial) -> None:
        """One result of the round; after the last one the source learns from all of them."""
        self._results[index] = trial
        self.trials.append(trial)
        if not self.left and self._source is not None:
            self._source.learn(self.round, [self._results[i] for i in range(len(self.round))])

    def close(self) -> None:
        """Let go of the search: it holds megabytes."""
        if self._source is not None:
            self.sampling_s, self.evolution_s = self._source.sampling_s, self._source.evolution_s
        self._source, self.round, self._results = None, [], {}


class Engine:
    """Runs tasks. ``stop`` may be called from another thread, then ``run`` raises Stopped soon.

    Args:
        keep: stores a trial; called in the thread of the board that measured it, or of the pool where that
            could not build it, before anything else happens with it. What it raises ends ``run``.
        in_turns: whether kernels run on this machine, so that nothing may be built meanwhile.
        round_size: candidates of a kernel between two updates of its cost model.
    """

    def __init__(
        self,
        pool: BuildPool,
        fleet: Fleet,
        tvm_target: Any,
        keep: Callable[[Kernel, Trial], None],
        *,
        in_turns: bool,
        settings: RunSettings = TRIAL_SETTINGS,
        round_size: int = 16,
        active: int = ACTIVE,
    ) -> None:
        self._pool, self._fleet, self._target, self._keep = pool, fleet, tvm_target, keep
        self._settings, self._round_size, self._active = settings, round_size, active
        self._in_turns = in_turns
        self._arrivals: queue.SimpleQueue[tuple[TuningTask, int, Trial] | _Built | BaseException]
        self._arrivals = queue.SimpleQueue()
        self._built_now: list[_Built] = []
        self._stopping = threading.Event()
        self.current: tuple[TuningTask, ...] = ()

    def stop(self) -> None:
        """Make ``run`` raise Stopped."""
        self._stopping.set()

    def run(
        self, tasks: Iterable[TuningTask], finished: Callable[[TuningTask], None] = lambda task: None
    ) -> None:
        """Carry out all tasks, ``finished`` is called after each.

        Raises:
            Stopped: see ``stop``.
            NoBoardLeft: as ``Fleet`` gives it.
        """
        waiting, active = deque(tasks), list[TuningTask]()
        while waiting or active:
            while waiting and len(active) < self._active:
                active.append(waiting.popleft())
            self.current = tuple(active)
            ready = next((task for task in active if not task.left), None)
            if ready is None:
                self._receive(block=True)
            elif not self._start_round(ready):
                active.remove(ready)
                ready.close()
                finished(ready)
            self._receive(block=False)
            left = sum(task.left for task in active)
            if self._built_now and len(self._built_now) >= min(IN_TURN, left):
                self._take_turn()
        self.current = ()

    def check(self) -> None:
        """Raise Stopped if ``stop`` was called."""
        if self._stopping.is_set():
            raise Stopped("stopped; all that was measured is stored, the same command goes on from there")

    def _start_round(self, task: TuningTask) -> bool:
        self.check()
        proposals = task.propose(self._round_size)
        args_info = arguments_of(proposals[0].mod) if proposals else []
        for index, proposal in enumerate(proposals):
            on_done = partial(self._built, task, index, args_info)
            self._pool.submit(proposal.mod, self._target, on_done=on_done)
        return bool(proposals)

    def _built(
        self, task: TuningTask, index: int, args_info: Sequence[Any], building: "Future[BuildResult]"
    ) -> None:
        """In the pool's thread."""
        if building.cancelled():
            return
        if failure := building.exception():  # no process, no memory: nothing can be built any more
            self._arrivals.put(failure)
            return
        proposal, build = task.round[index], building.result()
        if build.path is None:
            trial = Trial(
                schedule=proposal.schedule,
                origin=proposal.origin,
                error=build.error or "no reason given",
                build_s=build.build_s,
            )
            self._arrived(task, index, trial)
        elif self._in_turns:
            self._arrivals.put(_Built(task, index, args_info, build, build.path))
        else:
            self._submit(_Built(task, index, args_info, build, build.path))

    def _take_turn(self) -> None:
        """Run what is built while nothing else happens on this machine."""
        batch, self._built_now = self._built_now, []
        with self._pool.paused():
            for built in batch:
                self._submit(built)
            while not all(built.task.has(built.index) for built in batch):
                self._receive(block=True)

    def _submit(self, built: "_Built") -> None:
        """Queue a candidate for the next free board."""
        task, args_info, path = built.task, built.args_info, built.path

        def work(session: Any) -> RunResult:
            return checked(run_kernel(session, path, args_info, self._settings, best_s=task.best_s))

        try:
            future = self._fleet.submit(work, timeout_s=self._settings.timeout_s)
        except TargetError as closed:
            self._arrivals.put(closed)
        else:
            future.add_done_callback(partial(self._ran, task, built.index, built.build))

    def _ran(
        self, task: TuningTask, index: int, build: BuildResult, future: "Future[Done[RunResult]]"
    ) -> None:
        """In the board's thread."""
        proposal = task.round[index]
        remove(build.path)
        try:
            run, error, board = outcome(future)
        except BaseException as ended:  # no board is left, or the fleet was closed
            self._arrivals.put(ended)
            return
        trial = Trial(
            schedule=proposal.schedule,
            origin=proposal.origin,
            samples_s=run.samples_s if run else (),
            error=error,
            board=board,
            build_s=build.build_s,
            upload_s=run.upload_s if run else 0.0,
            run_s=run.run_s if run else 0.0,
        )
        self._arrived(task, index, trial)

    def _arrived(self, task: TuningTask, index: int, trial: Trial) -> None:
        try:
            self._keep(task.kernel, trial)
        except BaseException as error:
            self._arrivals.put(error)
        else:
            self._arrivals.put((task, index, trial))

    def _receive(self, *, block: bool) -> None:
        """Take what has arrived; with ``block``, wait for at least one."""
        while True:
            try:
                arrival = self._arrivals.get(block, _POLL_S if block else None)
            except queue.Empty:
                self.check()
                if block:
                    continue
                return
            if isinstance(arrival, BaseException):
                raise arrival
            block = False
            if isinstance(arrival, _Built):
                self._built_now.append(arrival)
            else:
                task, index, trial = arrival
                task.receive(index, trial)


@dataclass(frozen=True)
class _Built:
    """A candidate that is ready to run."""

    task: TuningTask
    index: int
    args_info: Sequence[Any]
    build: BuildResult
    path: Path
