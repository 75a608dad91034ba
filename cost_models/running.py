"""Times compiled kernels on a device over TVM's RPC, one after another on an otherwise quiet device."""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cost_models.building import brief
from cost_models.errors import CostModelError
from cost_models.tvm_import import ms, tvm


class Session(Protocol):
    """An open connection to a device: TVM's ``RPCSession`` and the device of it that runs kernels."""

    @property
    def remote(self) -> Any: ...

    @property
    def device(self) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """How a kernel is timed.

    Attributes:
        number: runs averaged into one sample, at least.
        repeat: samples.
        min_repeat_s: a sample lasts at least this long; short kernels run more often to get there.
        cooldown_s: pause between two samples, for devices that throttle.
        timeout_s: upload, warm-up and all samples of one kernel.
        give_up_factor: a kernel this many times slower than the best so far gets a single sample.
    """

    number: int = 1
    repeat: int = 3
    min_repeat_s: float = 0.02
    cooldown_s: float = 0.0
    timeout_s: float = 30.0
    give_up_factor: float = 20.0

    def __post_init__(self) -> None:
        for name in ("number", "repeat"):
            if getattr(self, name) < 1:
                raise CostModelError(f"RunSettings.{name} must be >= 1, found {getattr(self, name)}")
        if (
            min(self.min_repeat_s, self.cooldown_s) < 0
            or not self.timeout_s > 0
            or not self.give_up_factor > 1
        ):
            raise CostModelError(
                "RunSettings: min_repeat_s and cooldown_s must be >= 0, timeout_s > 0, give_up_factor > 1; "
                f"found {self.min_repeat_s}, {self.cooldown_s}, {self.timeout_s} and {self.give_up_factor}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What timing gave.

    Attributes:
        samples_s: seconds a run, one value a repeat; empty when ``error`` is set.
        error: one line.
        run_s: what timing cost, upload included.
        hopeless: far slower than the best so far, so there is a single sample of a single run.
    """

    samples_s: tuple[float, ...] = ()
    error: str | None = None
    run_s: float = 0.0
    hopeless: bool = False


def arguments_of(mod: Any) -> list[Any]:
    """Shapes and dtypes (``TensorInfo``) of what the kernel's only function takes, outputs last."""
    return list(ms.arg_info.ArgInfo.from_entry_func(mod, remove_preproc=True))


def make_arguments(session: Session, args_info: Sequence[Any]) -> list[Any]:
    """Tensors on the device, filled there with random numbers of ordinary size (denormals would be slow)."""
    fill = session.remote.get_function("tvm.contrib.random.random_fill_for_measure")
    arguments = []
    for info in args_info:
        tensor = tvm.runtime.empty(tuple(info.shape), info.dtype, session.device)
        fill(tensor)
        arguments.append(tensor)
    return arguments


def run_kernel(
    session: Session,
    path: Path,
    args_info: Sequence[Any],
    settings: RunSettings,
    *,
    best_s: float = math.inf,
    arguments: Sequence[Any] | None = None,
) -> RunResult:
    """Upload, load, warm up and time one shared object. The uploaded file is always removed.

    Args:
        args_info: as ``arguments_of`` gives it.
        best_s: fastest kernel so far, seconds a run; bounds what a hopeless one may cost.
        arguments: what ``make_arguments`` made for an earlier kernel of the same shapes.

    Waits for the device as long as that takes: ``Runner`` adds the time limit.
    """
    started = time.perf_counter()
    try:
        with _uploaded(session.remote, path) as module:
            arguments = make_arguments(session, args_info) if arguments is None else arguments
            samples_s, hopeless = _time(module, session.device, arguments, settings, best_s)
    except Exception as error:
        return RunResult(error=brief(error), run_s=time.perf_counter() - started)
    return RunResult(samples_s=samples_s, hopeless=hopeless, run_s=time.perf_counter() - started)


@contextlib.contextmanager
def _uploaded(remote: Any, path: Path) -> Iterator[Any]:
    remote.upload(str(path), path.name)
    try:
        yield remote.load_module(path.name)
    finally:
        remote.remove(path.name)


def _time(
    module: Any, device: Any, arguments: Sequence[Any], settings: RunSettings, best_s: float
) -> tuple[tuple[float, ...], bool]:
    """Samples in seconds, and whether it was given up after one. Every evaluator call warms up once."""
    device.sync()
    once = module.time_evaluator(module.entry_name, device, number=1, repeat=1)
    first = tuple(once(*arguments).results)
    if first[0] > settings.give_up_factor * best_s:
        return first, True
    evaluator = module.time_evaluator(
        module.entry_name,
        device,
        number=settings.number,
        repeat=settings.repeat,
        min_repeat_ms=math.ceil(settings.min_repeat_s * 1000),
        cooldown_interval_ms=math.ceil(settings.cooldown_s * 1000),
    )
    return tuple(evaluator(*arguments).results), False


class Runner:
    """Times kernels on one device and outlives what they do to it.

    Args:
        connect: opens a session; called before the first kernel and again after one that hung, crashed the
            server or broke the device. It must end or wait out the session that it replaces. What it raises,
            ``measure`` raises: without a device there is nothing to go on with.
        settings: how to time.
    """

    def __init__(self, connect: Callable[[], Session], settings: RunSettings | None = None) -> None:
        self.settings = settings or RunSettings()
        self._connect = connect
        self._session: Session | None = None
        self._arguments: tuple[str, list[Any]] | None = (
            None  # of the last kernel: a device may have little memory
        )

    def measure(self, path: Path, args_info: Sequence[Any], best_s: float = math.inf) -> RunResult:
        """``run_kernel`` with at most ``settings.timeout_s``."""
        if self._session is None:
            self._session = self._connect()
        answers: queue.SimpleQueue[tuple[RunResult, list[Any] | None]] = queue.SimpleQueue()
        threading.Thread(
            target=_run_apart,
            args=(
                self._session,
                path,
                list(args_info),
                self.settings,
                best_s,
                self._reusable(args_info),
                answers,
            ),
            daemon=True,  # one that hangs ends when its server does
        ).start()
        try:
            result, arguments = answers.get(timeout=self.settings.timeout_s)
        except queue.Empty:
            limit_s = self.settings.timeout_s
            result = RunResult(error=f"no answer from the device within {limit_s:g} s", run_s=limit_s)
            arguments = None
        if arguments is None:
            self._session = None
            self._arguments = None
        else:
            self._arguments = (_spell(args_info), arguments)
        return result

    def _reusable(self, args_info: Sequence[Any]) -> list[Any] | None:
        if self._arguments is not None and self._arguments[0] != _spell(args_info):
            self._arguments = None
        return self._arguments[1] if self._arguments else None


def _spell(args_info: Sequence[Any]) -> str:
    return " ".join(f"{info.dtype}{tuple(info.shape)}" for info in args_info)


def _run_apart(
    session: Session,
    path: Path,
    args_info: Sequence[Any],
    settings: RunSettings,
    best_s: float,
    arguments: list[Any] | None,
    answers: "queue.SimpleQueue[tuple[RunResult, list[Any] | None]]",
) -> None:
    """Answers with the result and the arguments to reuse; with none when the session is no good any more."""
    try:
        arguments = make_arguments(session, args_info) if arguments is None else arguments
        result = run_kernel(session, path, args_info, settings, best_s=best_s, arguments=arguments)
    except Exception as error:
        result = RunResult(error=brief(error))
    if result.error is not None:
        try:
            session.device.sync()  # a dead server or a broken CUDA context says so here
        except Exception:
            arguments = None
    answers.put((result, arguments))
