"""Tunes and times kernels on one target and stores every result: the engine of ``profile`` and ``deploy``."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from cost_models.building import BuildPool, BuildResult
from cost_models.default_schedules import schedule_default
from cost_models.environment import environment
from cost_models.errors import CostModelError, UnknownEnvironment
from cost_models.interrupts import HeldInterrupts
from cost_models.kernels import Kernel
from cost_models.lowering import kernels, lower, structural_hash
from cost_models.onnx_export import to_onnx
from cost_models.records import Measurement, Trial
from cost_models.running import Runner, RunResult, RunSettings, arguments_of
from cost_models.store import MeasurementStore
from cost_models.tuning import SearchSettings, apply_trace, best_trial, tune
from targets import Session, Target, open_session

_ONE_DAY_S = 86400.0
_WORTH_TIMING = (
    1.1  # a trial has few samples: one this much slower than the default schedule may yet be faster
)
TRIAL_SETTINGS = RunSettings(number=1, repeat=3, min_repeat_s=0.01)


class Profiler:
    """Measures kernels one after another; a context manager that holds the device and the build processes.

    A kernel is timed with its default schedule and, when trials are allowed, with the best schedule found by
    tuning. Everything is stored as it comes; what the store has already is not done again. Ctrl-C is held
    back while TVM works in this process.

    Args:
        tracker: HOST:PORT of a TVM tracker; for a local target None starts tracker and server on loopback and
            stops them at the end.
        seed: of the schedule search.
    """

    def __init__(
        self,
        target: Target,
        store: MeasurementStore,
        *,
        dtype: str = "float32",
        tracker: str | None = None,
        settings: SearchSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.target, self.store = target, store
        self.fingerprint = environment(target, dtype)
        if dtype != "float32":
            raise CostModelError(f"dtype {dtype}: this release measures float32 only; leave --dtype out")
        self._tvm_target = target.tvm_target()
        self._tracker, self._search, self._seed = tracker, settings, seed
        self._environment = store.add_environment(self.fingerprint)
        self._interrupts = HeldInterrupts()
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> "Profiler":
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._interrupts)
            with self._interrupts.released():
                session = stack.enter_context(open_session(self.target, self._tracker, timeout_s=_ONE_DAY_S))
                self._pool = stack.enter_context(_Pool(self._interrupts))
            self._runner = Runner(_connector(session))
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def measure(
        self, kernel: Kernel, trials: int, on_trial: Callable[[Trial], None] = lambda trial: None
    ) -> list[Measurement]:
        """Bring a kernel to ``trials`` trials and time its default and its best schedule.

        Args:
            on_trial: called after each new trial is stored.

        Returns:
            The measurements made now; none when the store had all of it.
        """
        self.store.add_kernel(kernel.key, kernel.description)
        made = []
        mod: Any = None
        stored = self.store.measurements(self._environment, kernel.key)
        if not any(m.how == "default" and m.error is None for m in stored.values()):
            mod = kernel_module(kernel, self._tvm_target)
            made.append(self._time(kernel, schedule_default(mod, self._tvm_target), "default", None))
        history = self.store.trials(self._environment, kernel.key)
        if trials > len(history):
            mod = mod or kernel_module(kernel, self._tvm_target)
            self._tune(kernel, mod, trials, list(history.values()), on_trial)
            history = self.store.trials(self._environment, kernel.key)
        best = best_trial(list(history.values()))
        if best is not None and best.median_s < _WORTH_TIMING * self._default_s(kernel):
            trial_id = next(id_ for id_, trial in history.items() if trial is best)
            if not any(self.store.trial_of(id_) == trial_id for id_ in stored):
                mod = mod or kernel_module(kernel, self._tvm_target)
                made.append(self._time(kernel, apply_trace(mod, best.trace), "tuned", trial_id))
        return made

    def _default_s(self, kernel: Kernel) -> float:
        """Median of the default schedule, infinite where it does not run."""
        measured = self.store.measurements(self._environment, kernel.key).values()
        return min((m.median_s for m in measured if m.how == "default"), default=math.inf)

    def _tune(
        self,
        kernel: Kernel,
        mod: Any,
        trials: int,
        history: list[Trial],
        on_trial: Callable[[Trial], None],
    ) -> None:
        def keep(trial: Trial) -> None:
            self.store.add_trial(self._environment, kernel.key, trial)
            on_trial(trial)

        self._runner.settings = TRIAL_SETTINGS
        tune(
            mod,
            self._tvm_target,
            trials=trials,
            build_pool=self._pool,
            measure=self._measure,
            history=history,
            on_trial=keep,
            settings=self._search or SearchSettings.for_trials(trials),
            seed=self._seed,
        )

    def _time(self, kernel: Kernel, scheduled: Any, how: str, trial: int | None) -> Measurement:
        """Build one schedule, time it as the target's protocol says, store the samples or the error."""
        (build,) = self._pool.build([scheduled], self._tvm_target)
        if build.path is None:
            found = Measurement(kernel=kernel.key, how=how, error=build.error)
        else:
            found = self._run(kernel, build.path, arguments_of(scheduled), how)
        self.store.add_measurement(self._environment, found, trial=trial)
        return found

    def _run(self, kernel: Kernel, path: Path, arguments: Any, how: str) -> Measurement:
        protocol = self.target.measure
        self._runner.settings = RunSettings(
            number=protocol.number,
            repeat=protocol.repeat,
            min_repeat_s=protocol.min_repeat_ms / 1e3,
            cooldown_s=protocol.cooldown_ms / 1e3,
            timeout_s=protocol.timeout_s,
        )
        try:
            run = self._measure(path, arguments)
        finally:
            path.unlink(missing_ok=True)
        return Measurement(kernel=kernel.key, how=how, samples_s=run.samples_s, error=run.error)

    def _measure(self, path: Path, arguments: Sequence[Any], best_s: float = math.inf) -> RunResult:
        with self._interrupts.released():
            return self._runner.measure(path, arguments, best_s)


class _Pool(BuildPool):
    """Build processes that one need not wait for after Ctrl-C."""

    def __init__(self, interrupts: HeldInterrupts) -> None:
        super().__init__()
        self._interrupts = interrupts

    def build(self, modules: Sequence[Any], target: Any) -> list[BuildResult]:
        with self._interrupts.released():
            return super().build(modules, target)


def tuned_modules(
    store: MeasurementStore, fingerprint: Mapping[str, Any], wanted: Sequence[Kernel], tvm_target: Any
) -> dict[str, Any]:
    """Schedules worth deploying: structural hash of a kernel's module -> the module with its best schedule.

    Only kernels whose tuned schedule was measured faster than the default one, in this very environment.
    """
    try:
        environment = store.find_environment(fingerprint)
    except UnknownEnvironment:
        return {}
    modules = {}
    for kernel in wanted:
        trial = _fastest(store, environment, kernel.key)
        if trial is not None:
            mod = kernel_module(kernel, tvm_target)
            modules[structural_hash(mod)] = apply_trace(mod, trial.trace)
    return modules


def _fastest(store: MeasurementStore, environment: str, key: str) -> Trial | None:
    """The trial behind a kernel's latency; None where that is of the default schedule."""
    measured = {id_: m for id_, m in store.measurements(environment, key).items() if m.error is None}
    if not measured:
        return None
    newest = {m.how: id_ for id_, m in measured.items()}  # later ones replace earlier, as in the table
    trial_id = store.trial_of(min(newest.values(), key=lambda id_: measured[id_].median_s))
    return store.trials(environment, key)[trial_id] if trial_id is not None else None


def kernel_module(kernel: Kernel, tvm_target: Any) -> Any:
    """The kernel as TVM tunes it: an IRModule whose only function is ``main``, not yet scheduled."""
    lowered = lower(to_onnx(kernel.graph, kernel.input_shapes, name="kernel"), tvm_target)
    (found,) = kernels(lowered).values()
    return found.mod


def _connector(session: Session) -> Callable[[], Session]:
    """The open session at first, a fresh one in its place after that."""
    used = False

    def connect() -> Session:
        nonlocal used
        if used:
            session.reconnect()
        used = True
        return session

    return connect
