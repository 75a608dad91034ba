"""Times compiled kernels on a device over TVM's RPC: quickly for trials, carefully for what goes in a table.

Both wait for the device as long as that takes: whoever gives them a session adds the time limit.
"""

import contextlib
import hashlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from cost_models.errors import CostModelError
from cost_models.runner.rounds import MIN_ROUNDS, Care, Rounds, take_rounds
from cost_models.statistics import is_coarse
from cost_models.tvm_import import ms, tvm
from targets.spec import Measure
from targets.support.text import brief

_LONGER = 4  # times as long are the samples where the clock is too coarse
_FINEST_S = 1e-3  # TVM takes the least duration of a sample in whole milliseconds
SLOW = 1.25  # on a quiet machine the reference scatters by up to 10 %: this is another state of the machine


class DeviceSession(Protocol):
    """An open connection to a device: TVM's ``RPCSession``, the device that runs kernels, and room.

    ``scratch`` holds what work wants to find again in the same session; it is emptied with the session.
    """

    @property
    def remote(self) -> Any: ...

    @property
    def device(self) -> Any: ...

    @property
    def scratch(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """How a kernel is timed.

    Attributes:
        number: runs averaged into one sample, at least.
        repeat: samples.
        min_repeat_s: a sample lasts at least this long; short kernels run more often to get there.
        cooldown_s: pause between two samples, for devices that throttle.
        timeout_s: upload, warm-up and all samples of one kernel; kept by whoever runs the work.
        give_up_factor: a kernel this many times slower than the best so far gets a single run.
        beaten_factor: one this many times slower gets a single sample.
    """

    number: int = 1
    repeat: int = 3
    min_repeat_s: float = 0.02
    cooldown_s: float = 0.0
    timeout_s: float = 30.0
    give_up_factor: float = 20.0
    beaten_factor: float = 1.5

    def __post_init__(self) -> None:
        for name in ("number", "repeat"):
            if getattr(self, name) < 1:
                raise CostModelError(f"RunSettings.{name} must be >= 1, found {getattr(self, name)}")
        if (
            min(self.min_repeat_s, self.cooldown_s) < 0
            or not self.timeout_s > 0
            or not self.give_up_factor > 1
            or not self.beaten_factor > 1
        ):
            raise CostModelError(
                "RunSettings: min_repeat_s and cooldown_s must be >= 0, timeout_s > 0, both factors > 1; "
                f"found {self.min_repeat_s}, {self.cooldown_s}, {self.timeout_s}, {self.give_up_factor} and "
                f"{self.beaten_factor}"
            )

    @classmethod
    def of(cls, measure: Measure) -> "RunSettings":
        """As a target's file says."""
        return cls(
            number=measure.number,
            repeat=measure.repeat,
            min_repeat_s=measure.min_repeat_ms / 1e3,
            cooldown_s=measure.cooldown_ms / 1e3,
            timeout_s=measure.timeout_s,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What timing a trial gave.

    Attributes:
        samples_s: seconds a run, one value a repeat; empty when ``error`` is set.
        error: one line.
        upload_s: copying the file to the device and loading it there.
        run_s: what timing cost after that.
        hopeless: far slower than the best so far, so there is a single sample of a single run.
    """

    samples_s: tuple[float, ...] = ()
    error: str | None = None
    upload_s: float = 0.0
    run_s: float = 0.0
    hopeless: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What a careful timing gave.

    Attributes:
        samples_s: seconds a run, in the order taken; empty when ``error`` is set.
        reference_s: of the reference kernel, in the order taken; empty without one.
        notes: what whoever reads the samples must know, one phrase each.
        error: one line.
        upload_s, run_s: as for ``RunResult``.
    """

    samples_s: tuple[float, ...] = ()
    reference_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    upload_s: float = 0.0
    run_s: float = 0.0


def arguments_of(mod: Any) -> list[Any]:
    """Shapes and dtypes (``TensorInfo``) of what the kernel's only function takes, outputs last."""
    return list(ms.arg_info.ArgInfo.from_entry_func(mod, remove_preproc=True))


def make_arguments(session: DeviceSession, args_info: Sequence[Any]) -> list[Any]:
    """Tensors on the device, filled there with random numbers of ordinary size (denormals would be slow)."""
    fill = session.remote.get_function("tvm.contrib.random.random_fill_for_measure")
    arguments = []
    for info in args_info:
        tensor = tvm.runtime.empty(tuple(info.shape), info.dtype, session.device)
        fill(tensor)
        arguments.append(tensor)
    return arguments


def run_kernel(
    session: DeviceSession,
    path: Path,
    args_info: Sequence[Any],
    settings: RunSettings,
    *,
    best_s: float = math.inf,
) -> RunResult:
    """Upload, load, warm up and time one shared object. The uploaded file is always removed.

    Args:
        args_info: as ``arguments_of`` gives it.
        best_s: fastest kernel so far, seconds a run; bounds what a hopeless one may cost.
    """
    watch = _Stopwatch()
    try:
        with uploaded(session, path) as module:
            watch.loaded()
            arguments = _arguments(session, args_info)
            first_s = _once(module, session.device, arguments)
            hopeless = first_s > settings.give_up_factor * best_s
            samples_s: tuple[float, ...] = (first_s,)
            if not hopeless:
                samples_s = _compete(module, session.device, arguments, settings, best_s)
    except Exception as error:
        return RunResult(error=brief(error), upload_s=watch.upload_s, run_s=watch.run_s)
    return RunResult(samples_s=samples_s, hopeless=hopeless, upload_s=watch.upload_s, run_s=watch.run_s)


def time_carefully(
    session: DeviceSession,
    path: Path,
    args_info: Sequence[Any],
    settings: RunSettings,
    care: Care,
    reference: Callable[[DeviceSession], tuple[float, ...]] | None = None,
) -> Timing:
    """Time one shared object in rounds, with the reference kernel before, between and after them.

    More rounds follow until ``care`` is satisfied or its budget is spent; ``notes`` say what was not reached.
    Samples of disturbed rounds stay in: leaving them out did not bring the medians of repeated timings closer
    together, since a machine's slow states outlast a timing. Where the clock is too coarse, it starts anew,
    once, with longer samples.

    Args:
        settings: ``repeat`` and ``give_up_factor`` are not used here.
        reference: a burst of the reference kernel, ``Reference.burst``.
    """
    watch = _Stopwatch()
    beside = None if reference is None else partial(reference, session)
    try:
        with uploaded(session, path) as module:
            watch.loaded()
            arguments = _arguments(session, args_info)
            first_s = _once(module, session.device, arguments)

            def rounds_of(min_repeat_s: float) -> Rounds:
                affordable = int(care.budget_s / MIN_ROUNDS / max(first_s, min_repeat_s))
                repeat = max(1, min(care.burst, affordable))
                each = replace(settings, min_repeat_s=min_repeat_s, repeat=repeat)
                return take_rounds(partial(sample, module, session.device, arguments, each), beside, care)

            rounds, notes = rounds_of(settings.min_repeat_s), []
            if is_coarse(rounds.samples_s):
                longer_s = _LONGER * max(settings.min_repeat_s, _FINEST_S)
                rounds, notes = rounds_of(longer_s), [f"coarse clock: samples of {longer_s * 1e3:g} ms"]
    except Exception as error:
        return Timing(error=brief(error), upload_s=watch.upload_s, run_s=watch.run_s)
    notes += rounds.notes(care) + _slow_state(session, rounds.levels_s)
    return Timing(
        samples_s=rounds.samples_s,
        reference_s=tuple(chain.from_iterable(rounds.beside)),
        notes=tuple(notes),
        upload_s=watch.upload_s,
        run_s=watch.run_s,
    )


def _slow_state(session: DeviceSession, levels_s: Sequence[float]) -> list[str]:
    """A note where the device was slower all along than it was before in the same session."""
    if not levels_s:
        return []
    ratio = statistics.median(levels_s) / fastest_reference_s(session, levels_s)
    return [f"slow state: the reference took {ratio:.2f} times its fastest so far"] if ratio > SLOW else []


def fastest_reference_s(session: DeviceSession, levels_s: Sequence[float]) -> float:
    """The fastest level of the reference in this session, the latest ones among them."""
    fastest_s: float = min(*levels_s, session.scratch.get("reference_fastest_s", math.inf))
    session.scratch["reference_fastest_s"] = fastest_s
    return fastest_s


@contextlib.contextmanager
def uploaded(session: DeviceSession, path: Path) -> Iterator[Any]:
    """The remote module; its file is gone after the block, the module stays usable.

    Named after its content: TVM's server never unloads a library, and answers a known name with the first
    library of that name.
    """
    name = f"{hashlib.sha256(path.read_bytes()).hexdigest()}.so"
    session.remote.upload(str(path), name)
    try:
        yield session.remote.load_module(name)
    finally:
        session.remote.remove(name)


def sample(module: Any, device: Any, arguments: Sequence[Any], settings: RunSettings) -> tuple[float, ...]:
    """Samples in seconds, after a warm-up run."""
    evaluator = module.time_evaluator(
        module.entry_name,
        device,
        number=settings.number,
        repeat=settings.repeat,
        min_repeat_ms=math.ceil(settings.min_repeat_s * 1000),
        cooldown_interval_ms=math.ceil(settings.cooldown_s * 1000),
    )
    return tuple(evaluator(*arguments).results)


def _compete(
    module: Any, device: Any, arguments: Sequence[Any], settings: RunSettings, best_s: float
) -> tuple[float, ...]:
    """Samples, only one where that is clearly slower than the best: most trials are."""
    (first_s,) = sample(module, device, arguments, replace(settings, repeat=1))
    if settings.repeat == 1 or first_s > settings.beaten_factor * best_s:
        return (first_s,)
    number = max(settings.number, math.ceil(settings.min_repeat_s / first_s))  # as it was found
    rest = replace(settings, repeat=settings.repeat - 1, number=number)
    return (first_s, *sample(module, device, arguments, rest))


def _once(module: Any, device: Any, arguments: Sequence[Any]) -> float:
    """Seconds of a single run after a warm-up run."""
    device.sync()
    evaluator = module.time_evaluator(module.entry_name, device, number=1, repeat=1)
    return float(evaluator(*arguments).results[0])


def _arguments(session: DeviceSession, args_info: Sequence[Any]) -> list[Any]:
    """Those of the last kernel of the session where the shapes are the same."""
    shapes = " ".join(f"{info.dtype}{tuple(info.shape)}" for info in args_info)
    if shapes not in session.scratch.get("arguments", {}):
        session.scratch.pop(
            "arguments", None
        )  # before the new ones are made: a device may have little memory
        session.scratch["arguments"] = {shapes: make_arguments(session, args_info)}
    arguments: list[Any] = session.scratch["arguments"][shapes]
    return arguments


class _Stopwatch:
    """Tells copying and loading from running, whenever it is asked."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._loaded: float | None = None

    def loaded(self) -> None:
        """Copying and loading are done."""
        self._loaded = time.perf_counter()

    @property
    def upload_s(self) -> float:
        return (self._loaded or time.perf_counter()) - self._started

    @property
    def run_s(self) -> float:
        return 0.0 if self._loaded is None else time.perf_counter() - self._loaded
