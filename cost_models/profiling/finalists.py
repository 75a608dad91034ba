"""Times default schedules and the best of the trials carefully, and stores the samples.

Nothing else runs meanwhile where that would be on the device itself; what is compared is timed in the same
minute.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cost_models.builder.pool import BuildPool
from cost_models.database.history import History
from cost_models.database.records import How, Measurement, Trial
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.profiling.status import Status
from cost_models.runner.reference import Reference
from cost_models.runner.rounds import Care
from cost_models.runner.runner import RunSettings, Timing, arguments_of, time_carefully
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import apply_schedule
from cost_models.tuning.scheduler import checked, outcome, remove
from targets import Done, Fleet, Target

_log = logging.getLogger(__name__)
_FINALISTS = 2  # schedules of a kernel that are timed carefully: trials have few samples, and luck
_WORTH_TIMING = 1.2  # a trial this much slower than the default schedule may yet be faster
_MAX_TIMINGS = 3  # of one schedule, because of disturbances
BATCH = 8  # kernels that are timed together
_POLL_S = 0.2


@dataclass(frozen=True)
class _Job:
    """A scheduled module to be timed, whose schedule it is, and the trial behind it."""

    kernel: Kernel
    mod: Any
    how: How
    trial: int | None = None


class CarefulTimer:
    """Times kernels by the target's protocol.

    Args:
        check: called before each batch and several times a second; what it raises ends the timing.
    """

    def __init__(
        self,
        target: Target,
        pool: BuildPool,
        fleet: Fleet,
        reference: Reference,
        history: History,
        check: Callable[[], None],
        *,
        dtype: str = "float32",
    ) -> None:
        self._target, self._tvm_target = target, target.tvm_target()
        self._pool, self._fleet, self._reference = pool, fleet, reference
        self._history, self._check, self._dtype = history, check, dtype
        self._budget_s = math.inf

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        """A stretch in which nothing is built where that would be on the device itself."""
        return self._pool.paused() if self._target.kind == "local" else contextlib.nullcontext()

    def limit(self, budget_s: float) -> None:
        """Spend no more on one schedule from now on, nor than the target's protocol allows."""
        self._budget_s = budget_s

    def time_defaults(self, kernels: Sequence[Kernel], status: Status) -> None:
        """Time the default schedules of kernels."""
        status.timings += len(kernels)
        for batch in _batches(kernels):
            self._time([self._job(kernel) for kernel in batch], status)

    def time_finalists(self, kernels: Sequence[Kernel], status: Status) -> None:
        """Time the best trials that have not been, and the default schedule once more beside them."""
        jobs = {kernel: found for kernel in kernels if (found := self._finalists(kernel))}
        status.timings += sum(map(len, jobs.values()))
        for batch in _batches(list(jobs)):
            self._time([job for kernel in batch for job in jobs[kernel]], status)

    def time_disturbed(self, kernels: Sequence[Kernel], status: Status) -> None:
        """Time the fastest schedule of kernels once more where the device was not itself."""
        jobs = []
        for kernel in kernels:
            trial_id, timing = self._history.fastest(kernel)
            if timing is None or not timing.disturbed:
                continue
            if len(self._history.timings(kernel)[trial_id]) < _MAX_TIMINGS:
                trial = None if trial_id is None else self._history.trials(kernel)[trial_id]
                jobs.append(self._job(kernel, trial_id, trial))
        status.timings += len(jobs)
        for start in range(0, len(jobs), BATCH):
            self._time(jobs[start : start + BATCH], status)

    def _finalists(self, kernel: Kernel) -> list[_Job]:
        timed = self._history.timings(kernel)
        worth_s = _WORTH_TIMING * self._history.default_s(kernel)
        best = self._history.best(kernel, _FINALISTS)
        fresh = {id_: t for id_, t in best.items() if t.median_s < worth_s and id_ not in timed}
        if not fresh:
            return []
        return [self._job(kernel), *(self._job(kernel, id_, trial) for id_, trial in fresh.items())]

    def _job(self, kernel: Kernel, id_: int | None = None, trial: Trial | None = None) -> _Job:
        """The schedule of a trial, or without one the default schedule."""
        mod = kernel_module(kernel, self._tvm_target, self._dtype)
        if trial is None:
            return _Job(kernel, schedule_default(mod, self._tvm_target), How.DEFAULT)
        how = How.TRANSFERRED if trial.origin == "transfer" else How.TUNED
        return _Job(kernel, apply_schedule(mod, self._tvm_target, trial.schedule), how, id_)

    def _time(self, jobs: Sequence[_Job], status: Status) -> None:
        self._check()
        builds = self._pool.build([job.mod for job in jobs], self._tvm_target)
        pending: dict[Future[Done[Timing]], _Job] = {}
        try:
            with self.quiet():
                for job, build in zip(jobs, builds, strict=True):
                    if build.path is None:
                        failed = Measurement(kernel=job.kernel.key, how=job.how, error=build.error)
                        self._store(job, failed, status)
                    else:
                        pending[self._submit(job, build.path)] = job
                self._collect(pending, status)
        finally:
            for build in builds:
                remove(build.path)

    def _collect(self, pending: "dict[Future[Done[Timing]], _Job]", status: Status) -> None:
        """Store timings as they come: one whose board is lost must not cost what other boards measured."""
        ended: Exception | None = None
        while pending:
            for future in wait(pending, _POLL_S, FIRST_COMPLETED).done:
                job = pending.pop(future)
                try:
                    found = _measurement(job, future)
                except Exception as error:  # no board is left, or the fleet was closed
                    ended = error
                else:
                    self._store(job, found, status)
            self._check()
        if ended is not None:
            raise ended

    def _submit(self, job: _Job, path: Path) -> "Future[Done[Timing]]":
        protocol = self._target.measure
        settings, care = RunSettings.of(protocol), Care.of(protocol)
        care = replace(care, budget_s=min(care.budget_s, self._budget_s))
        args_info = arguments_of(job.mod)

        def work(session: Any) -> Timing:
            burst = self._reference.burst
            return checked(time_carefully(session, path, args_info, settings, care, burst))

        return self._fleet.submit(work, timeout_s=settings.timeout_s)

    def _store(self, job: _Job, found: Measurement, status: Status) -> None:
        self._history.store.add_measurement(self._history.environment, found, trial=job.trial)
        status.timed += 1
        if found.error is not None:
            _log.warning("%s, %s schedule: %s", job.kernel.label, job.how, found.error)


def _measurement(job: _Job, future: "Future[Done[Timing]]") -> Measurement:
    timing, error, board = outcome(future)
    if timing is None:
        return Measurement(kernel=job.kernel.key, how=job.how, error=error)
    return Measurement(
        kernel=job.kernel.key,
        how=job.how,
        samples_s=timing.samples_s,
        reference_s=timing.reference_s,
        notes=timing.notes,
        board=board,
    )


def _batches(kernels: Sequence[Kernel]) -> Iterator[Sequence[Kernel]]:
    for start in range(0, len(kernels), BATCH):
        yield kernels[start : start + BATCH]
