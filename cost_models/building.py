"""Compiles kernels in parallel, in processes that load TVM once and take nobody with them when they crash.

A worker is a fresh interpreter, not a fork: no threads, no PyTorch, nothing of the user's ``__main__``. It
reads jobs from a pipe; when the pipe's other end closes, because the owner closed the pool or was killed, the
worker and its linker die at once.
"""

import json
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from cost_models.errors import CostModelError
from cost_models.tvm_import import tvm

# TVM's Python layer imports PyTorch wherever it is installed: 2 s and 200 MB a worker for nothing.
_BOOTSTRAP = """
import json, sys
sys.modules["torch"] = None
sys.path[:] = json.loads(sys.argv[1])
from cost_models.building import _serve
_serve(int(sys.argv[2]))
"""
_START_TIMEOUT_S = 180.0  # loading TVM: 1 s as a rule, far more from a cold disk on a busy board
_MAX_ERROR_CHARS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A shared object on disk, or why there is none.

    Attributes:
        path: the shared object; ``None`` when ``error`` is set. Deleted with the pool at the latest.
        error: one line.
        build_s: compiling and linking; for a candidate that was stopped, how long it was waited for.
    """

    path: Path | None = None
    error: str | None = None
    build_s: float = 0.0


def brief(error: BaseException) -> str:
    """One line for people: the kind of error and the last thing that TVM's long message says."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Command line:")]  # the linker's
    said = lines[-1] if lines else "no message"
    return f"{type(error).__name__}: {said}"[:_MAX_ERROR_CHARS]


class BuildPool:
    """Processes that compile for this machine or, with ``fcompile``, for another.

    Args:
        workers: processes; ``None`` takes one for each core this process may use.
        timeout_s: compiling and linking one module; what takes longer is stopped and reported. Fast schedules
            build in 0.1 to 1 s; those that unroll a stem wholly would take minutes.
        fcompile: linker as ``Executable.export_library`` takes it; ``None`` is the system's ``cc``.
        setup: called once in each worker before its first build, to register compiler callbacks.
            Both callables travel by cloudpickle.

    Raises:
        CostModelError: ``workers`` or ``timeout_s`` not positive.

    Use it as a context manager; the shared objects are gone when it ends.
    """

    def __init__(
        self,
        workers: int | None = None,
        timeout_s: float = 10.0,
        *,
        fcompile: Callable[..., Any] | None = None,
        setup: Callable[[], object] | None = None,
    ) -> None:
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self.timeout_s = timeout_s
        if self.workers < 1 or not timeout_s > 0:
            raise CostModelError(
                f"BuildPool: workers must be >= 1 and timeout_s > 0, found {workers} and {timeout_s}"
            )
        self._greeting = cloudpickle.dumps((fcompile, setup))
        self._folder = tempfile.TemporaryDirectory(prefix="squeezenas-build-")
        self._idle: list[_Worker] = []
        self._made = 0

    def __enter__(self) -> "BuildPool":
        self._idle += [self._start() for _ in range(self.workers - len(self._idle))]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers and delete what they built. Idempotent."""
        while self._idle:
            self._idle.pop().kill()
        self._folder.cleanup()

    def build(self, modules: Sequence[Any], target: Any) -> list[BuildResult]:
        """Compile IRModules for one TVM target; results in the order of ``modules``.

        A module that TVM refuses, that crashes the compiler or that takes too long costs only itself.
        """
        results: dict[int, BuildResult] = {}
        waiting = deque(enumerate(modules))
        busy: dict[Connection, tuple[_Worker, int]] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.workers:
                    index, module = waiting.popleft()
                    worker = self._idle.pop() if self._idle else self._start()
                    busy[worker.pipe] = (worker, index)
                    worker.give(pickle.dumps((module, target, str(self._new_path(".so")))), self.timeout_s)
                first_deadline = min(worker.deadline for worker, _ in busy.values())
                wait(list(busy), timeout=max(0.0, first_deadline - time.monotonic()))
                for pipe, (worker, index) in list(busy.items()):
                    result = worker.poll(self.timeout_s)
                    if result is not None:
                        results[index] = result
                        del busy[pipe]
                        if worker.alive:
                            self._idle.append(worker)
        finally:
            for worker, _ in busy.values():  # interrupted: whatever they answer later has no reader
                worker.kill()
        return [results[index] for index in range(len(modules))]

    def _new_path(self, suffix: str) -> Path:
        self._made += 1
        folder = Path(self._folder.name)
        folder.mkdir(exist_ok=True)  # something may have swept the temporary folder in a long run
        return folder / f"{self._made}{suffix}"

    def _start(self) -> "_Worker":
        return _Worker(self._greeting, self._new_path(".log"))


class _Worker:
    """The owner's end of one process: at most one job at a time."""

    def __init__(self, greeting: bytes, log: Path) -> None:
        self.pipe, theirs = Pipe()
        self.alive = True
        self.deadline = 0.0
        self._ready = False
        self._given_at = 0.0
        self._log = log
        command = [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path), str(theirs.fileno())]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "TMPDIR": str(log.parent),
                },  # what a stopped linker leaves goes with the pool
                start_new_session=True,  # Ctrl-C is the owner's to handle; one kill takes the linker too
            )
        theirs.close()
        self._send(greeting)

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # it died: poll() finds the end of the pipe and says so
            self.pipe.send_bytes(message)

    def give(self, job: bytes, timeout_s: float) -> None:
        self._given_at = time.monotonic()
        self.deadline = self._given_at + (timeout_s if self._ready else _START_TIMEOUT_S)
        self._send(job)

    def poll(self, timeout_s: float) -> BuildResult | None:
        """The job's result; ``None`` while there is reason to wait. A worker that failed is dead after it."""
        try:
            while self.pipe.poll():
                answer = self.pipe.recv()
                if isinstance(answer, BuildResult):
                    return answer
                self._ready = True
                self.deadline = time.monotonic() + timeout_s
        except (EOFError, OSError):
            self.kill()
            return self._failed(f"the compiler's process died ({self._cause()})")
        if time.monotonic() < self.deadline:
            return None
        self.kill()
        what = f"building took longer than {timeout_s:g} s" if self._ready else "loading TVM took too long"
        return self._failed(f"{what}; stopped")

    def _failed(self, error: str) -> BuildResult:
        return BuildResult(error=error, build_s=time.monotonic() - self._given_at)

    def _cause(self) -> str:
        code = self._process.returncode
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        lines = self._log.read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"{ended}; it said: {said[-1][:_MAX_ERROR_CHARS]}" if said and code > 0 else ended

    def kill(self) -> None:
        """End the process and its linker. Idempotent."""
        if self.alive:
            self.alive = False
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self.pipe.close()  # last: a worker that sees the pipe end takes its owner for dead


def _serve(descriptor: int) -> None:
    """Run in a worker: build what comes down the pipe, for ever."""
    pipe = Connection(descriptor)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    fcompile, setup = pickle.loads(pipe.recv_bytes())
    # TVM lets go of the interpreter while it compiles, so this thread hears of the owner's death at any time.
    threading.Thread(target=_listen, args=(pipe, jobs), daemon=True).start()
    if setup is not None:
        setup()
    pipe.send("ready")
    while True:
        module, target, path = pickle.loads(jobs.get())
        pipe.send(_build(module, target, Path(path), fcompile))


def _listen(pipe: Connection, jobs: "queue.SimpleQueue[bytes]") -> None:
    with suppress(EOFError, OSError):
        while True:
            jobs.put(pipe.recv_bytes())
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)  # the pool's folder, which has no owner any more
    os.killpg(0, signal.SIGKILL)


def _build(module: Any, target: Any, path: Path, fcompile: Callable[..., Any] | None) -> BuildResult:
    started = time.perf_counter()
    try:
        # Weights come as arguments here; in a network the layout rewrite is done once, ahead of time.
        module = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
        executable = tvm.compile(module, target)
        executable.export_library(str(path), **({"fcompile": fcompile} if fcompile else {}))
    except Exception as error:
        return BuildResult(error=brief(error), build_s=time.perf_counter() - started)
    return BuildResult(path=path, build_s=time.perf_counter() - started)
