"""Times default schedules and the best of the trials carefully, and stores the samples.

Nothing else runs meanwhile where that would be on the device itself; what is compared is timed in the same
minute.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cost_models.database.records import How, Measurement, Trial
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.profiling.context import MeasureContext
from cost_models.runner.outcome import checked, outcome, remove
from cost_models.runner.rounds import Care
from cost_models.runner.runner import RunSettings, Timing, arguments_of, time_carefully
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import apply_schedule
from targets import Done

_log = logging.getLogger(__name__)
_FINALISTS = 2  # schedules of a kernel that are timed carefully: trials have few samples, and luck
_WORTH_TIMING = 1.2  # a trial this much slower than the default schedule may yet be faster
_MAX_TIMINGS = 3  # of one schedule, because of disturbances
BATCH = 8  # kernels that are timed together
_POLL_S = 0.2


@dataclass(frozen=True)
class _Scheduled:
    """A scheduled module to be timed, whose schedule it is, and the trial behind it."""

    kernel: Kernel
    mod: Any
    how: How
    trial: int | None = None


def time_defaults(context: MeasureContext, kernels: Sequence[Kernel], budget_s: float = math.inf) -> None:
    """Time the default schedules of kernels.

    Args:
        budget_s: spend no more on one schedule, nor than the target's protocol allows.
    """
    context.status.timings += len(kernels)
    for batch in _batches(kernels):
        _time(context, [_scheduled(context, kernel) for kernel in batch], budget_s)


def time_finalists(context: MeasureContext, kernels: Sequence[Kernel], budget_s: float = math.inf) -> None:
    """Time the best trials that have not been, and the default schedule once more beside them."""
    jobs = {kernel: found for kernel in kernels if (found := _finalists(context, kernel))}
    context.status.timings += sum(map(len, jobs.values()))
    for batch in _batches(list(jobs)):
        _time(context, [job for kernel in batch for job in jobs[kernel]], budget_s)


def time_disturbed(context: MeasureContext, kernels: Sequence[Kernel], budget_s: float = math.inf) -> None:
    """Time the fastest schedule of kernels once more where the device was not itself."""
    _time_fastest(
        context, kernels, budget_s, lambda timing, so_far: timing.disturbed and so_far < _MAX_TIMINGS
    )


def time_again(
    context: MeasureContext, kernels: Sequence[Kernel], visits: int, budget_s: float = math.inf
) -> None:
    """Time the fastest schedule of kernels once more where it has fewer than ``visits`` timings.

    How far two cores of a virtual machine are apart, and who else uses their caches, changes within minutes:
    timings of several visits agree better than long ones of a single visit.
    """
    _time_fastest(context, kernels, budget_s, lambda timing, so_far: so_far < visits)


def _time_fastest(
    context: MeasureContext,
    kernels: Sequence[Kernel],
    budget_s: float,
    is_due: Callable[[Measurement, int], bool],
) -> None:
    """Once more, where that is due by the timing that counts and by how many there are."""
    history, jobs = context.history, []
    for kernel in kernels:
        trial_id, timing = history.fastest(kernel)
        if timing is None or not is_due(timing, len(history.timings(kernel)[trial_id])):
            continue
        trial = None if trial_id is None else history.trials(kernel)[trial_id]
        jobs.append(_scheduled(context, kernel, trial_id, trial))
    context.status.timings += len(jobs)
    for start in range(0, len(jobs), BATCH):
        _time(context, jobs[start : start + BATCH], budget_s)


def _finalists(context: MeasureContext, kernel: Kernel) -> list[_Scheduled]:
    history = context.history
    timed = history.timings(kernel)
    worth_s = _WORTH_TIMING * history.default_s(kernel)
    best = history.best(kernel, _FINALISTS)
    fresh = {id_: t for id_, t in best.items() if t.median_s < worth_s and id_ not in timed}
    if not fresh:
        return []
    tried = [_scheduled(context, kernel, id_, trial) for id_, trial in fresh.items()]
    return [_scheduled(context, kernel), *tried]


def _scheduled(
    context: MeasureContext, kernel: Kernel, id_: int | None = None, trial: Trial | None = None
) -> _Scheduled:
    """A kernel with the schedule of a trial, or without one with the default schedule."""
    tvm_target = context.tvm_target
    mod = kernel_module(kernel, tvm_target, context.dtype)
    if trial is None:
        return _Scheduled(kernel, schedule_default(mod, tvm_target), How.DEFAULT)
    how = How.TRANSFERRED if trial.origin == "transfer" else How.TUNED
    return _Scheduled(kernel, apply_schedule(mod, tvm_target, trial.schedule), how, id_)


def _time(context: MeasureContext, jobs: Sequence[_Scheduled], budget_s: float) -> None:
    context.check()
    builds = context.pool.build([job.mod for job in jobs], context.tvm_target)
    pending: dict[Future[Done[Timing]], _Scheduled] = {}
    try:
        with context.quiet():
            for job, build in zip(jobs, builds, strict=True):
                if build.path is None:
                    failed = Measurement(kernel=job.kernel.key, how=job.how, error=build.error)
                    _store(context, job, failed)
                else:
                    pending[_submit(context, job, build.path, budget_s)] = job
            _collect(context, pending)
    finally:
        for build in builds:
            remove(build.path)


def _collect(context: MeasureContext, pending: "dict[Future[Done[Timing]], _Scheduled]") -> None:
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
                _store(context, job, found)
        context.check()
    if ended is not None:
        raise ended


def _submit(context: MeasureContext, job: _Scheduled, path: Path, budget_s: float) -> "Future[Done[Timing]]":
    protocol = context.target.measure
    settings, care = RunSettings.of(protocol), Care.of(protocol)
    care = replace(care, budget_s=min(care.budget_s, budget_s))
    args_info = arguments_of(job.mod)

    def work(session: Any) -> Timing:
        burst = context.reference.burst
        return checked(time_carefully(session, path, args_info, settings, care, burst))

    return context.fleet.submit(work, timeout_s=settings.timeout_s)


def _store(context: MeasureContext, job: _Scheduled, found: Measurement) -> None:
    history = context.history
    history.store.add_measurement(history.environment, found, trial=job.trial)
    context.status.timed += 1
    if found.error is not None:
        _log.warning("%s, %s schedule: %s", job.kernel.label, job.how, found.error)


def _measurement(job: _Scheduled, future: "Future[Done[Timing]]") -> Measurement:
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
