"""What all measurements on one target share: tools, build processes, boards, results. Whole or not there."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cost_models.builder.pool import BuildPool
from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.records import Trial
from cost_models.database.store import MeasurementStore
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.onnx_io.exporter import DTYPES
from cost_models.profiling.status import Status
from cost_models.runner.reference import Reference
from cost_models.tuning.scheduler import TRIAL_SETTINGS, Engine
from targets import Fleet, Target, parse_address
from targets.toolchain.tools import Tools, find_tools

_T = TypeVar("_T")
_SESSION_S = 300.0


@dataclass(frozen=True, kw_only=True)
class MeasureContext:
    """A target with all that it takes to measure on it; see `measure_context`.

    Attributes:
        dtype: of kernels; the reference kernel is float32 in any case.
        fingerprint: of target and dtype; ``history.environment`` is its digest.
        history: where every result is stored, and what is known already.
        reference: the kernel that tells whether a device is as fast as before.
        engine: carries out searches; ``current`` names the kernels being searched now.
        status: of what is under way or done last.
    """

    target: Target
    dtype: str
    tvm_target: Any
    fingerprint: Mapping[str, Any]
    history: History
    tools: Tools
    pool: BuildPool
    fleet: Fleet
    reference: Reference
    engine: Engine
    status: Status

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        """A stretch in which nothing is built where that would be on the device itself."""
        return self.pool.paused() if self.target.kind == "local" else contextlib.nullcontext()

    def check(self) -> None:
        """Raise Stopped where `apart` was left: long work asks now and then."""
        self.engine.check()

    def apart(self, work: Callable[[], _T], tick: Callable[[], None] = lambda: None) -> _T:
        """Do ``work`` in a thread, so that this one hears Ctrl-C. After that nothing more can be measured.

        Args:
            tick: called several times a second, in the caller's thread, to show ``status``.
        """
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
            self.engine.stop()
            self.fleet.cancel()
            wait([done])  # Thread.join that Ctrl-C interrupts takes the thread for ended, up to Python 3.12
            raise
        return done.result()


@contextlib.contextmanager
def measure_context(
    target: Target,
    store: MeasurementStore,
    *,
    dtype: str = "float32",
    tracker: str | None = None,
    wait_s: float = 30.0,
) -> Iterator[MeasureContext]:
    """Hold build processes and boards for the ``with`` block; nothing of them runs after it.

    Args:
        dtype: ``float32`` or ``float16``.
        tracker: HOST:PORT of a TVM tracker, all of whose boards of the target's key are used; for a local
            target None starts a server that nobody else can reach and stops it at the end.
        wait_s: how long to wait for the first board, and for the return of boards when all are lost.

    Raises:
        TargetError, CostModelError: this cannot be measured, or a tool is missing.
        DeviceUnavailable: no tracker, or no board in time.
    """
    fingerprint = environment(target, dtype)
    if dtype not in DTYPES:
        raise CostModelError(f"dtype {dtype}: this release measures {' and '.join(DTYPES)} only")
    if tracker is not None:
        parse_address(tracker)
    tvm_target, timeout_s = target.tvm_target(), target.measure.timeout_s
    history, status = History(store, store.add_environment(fingerprint)), Status()
    tools = find_tools(target, dtype)
    tools.install()

    def keep(kernel: Kernel, trial: Trial) -> None:
        """Store a trial; in the thread of its board."""
        store.add_trial(history.environment, kernel.key, trial)
        status.count(kernel, trial)

    with BuildPool.of(tools) as pool:
        reference = Reference.build(pool, tvm_target)
        session_s = max(_SESSION_S, 2 * timeout_s)
        with Fleet(target, tracker, probe=reference.probe, session_s=session_s, wait_s=wait_s) as fleet:
            settings = replace(TRIAL_SETTINGS, timeout_s=timeout_s)
            in_turns = target.kind == "local"
            yield MeasureContext(
                target=target,
                dtype=dtype,
                tvm_target=tvm_target,
                fingerprint=fingerprint,
                history=history,
                tools=tools,
                pool=pool,
                fleet=fleet,
                reference=reference,
                engine=Engine(pool, fleet, tvm_target, keep, in_turns=in_turns, settings=settings),
                status=status,
            )
