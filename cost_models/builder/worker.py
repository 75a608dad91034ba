"""Both ends of a worker of a `BuildPool`: the process that builds, the owner's hold on it.

The process is a fresh interpreter, not a fork: no threads, no PyTorch, nothing of the user's ``__main__``. It
listens for its owner's death from its first moments, before it loads TVM: when the pipe's other end closes,
it deletes the pool's folder, which has no owner any more, and ends with its linker.
"""

import contextlib
import ctypes
import math
import os
import pickle
import queue
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from targets.support.child_python import child_python
from targets.support.text import MAX_ERROR_CHARS, brief

_HERE, _READY = "here", "ready"  # what a worker says of itself; all else that it sends is a BuildResult
_START_TIMEOUT_S = 180.0  # loading TVM: 1 s as a rule, far more from a cold disk on a busy board
_SEND_TIMEOUT_S = 2  # a worker takes at once what it is sent, unless somebody has frozen it
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A shared object on disk, or why there is none.

    Attributes:
        path: the shared object; ``None`` when ``error`` is set. Deleted with the pool at the latest.
        error: one line.
        build_s: compiling and linking; for a candidate that was stopped, how long it was waited for. The time
            that the pool was paused is left out.
        link_s: the linker's part of it.
    """

    path: Path | None = None
    error: str | None = None
    build_s: float = 0.0
    link_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BuildJob:
    """A pickled (module, target, path), and the future that waits for it, which never counts as running."""

    message: bytes
    future: Future[BuildResult]

    def finish(self, result: BuildResult) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)
        elif result.path is not None:  # cancelled a moment ago
            result.path.unlink(missing_ok=True)

    def drop(self, failure: Exception | None = None) -> None:
        """End it without a result: cancelled, or with what made the pool fail."""
        if failure is None:
            self.future.cancel()
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(failure)


class Worker:
    """The owner's end of one process, for one thread of the owner: at most one job at a time.

    Attributes:
        alive: until it was killed or found dead.
        ready: it has loaded TVM.
        job: what it builds.
        deadline: on ``time.monotonic``'s clock, when ``poll`` gives it up.
    """

    def __init__(self, greeting: bytes, log: Path, timeout_s: float) -> None:
        self.alive, self.ready = True, False
        self.job: BuildJob | None = None
        self.deadline = time.monotonic() + _START_TIMEOUT_S
        self._here, self._log, self._timeout_s = False, log, timeout_s
        self._given_at = self._paused_s = self._starved_s = 0.0
        self._stopped_at: float | None = None
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_TIMEOUT_S, 0))
        self.pipe = Connection(ours.detach())
        command = child_python("cost_models.builder.worker_process", str(theirs.fileno()))
        with theirs, log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # what a stopped linker leaves goes with the pool
                env={**os.environ, "TMPDIR": str(log.parent)},
                start_new_session=True,  # Ctrl-C is the owner's to handle; one signal takes the linker too
            )
        self._send(greeting)

    @property
    def stopped(self) -> bool:
        return self._stopped_at is not None

    def give(self, job: BuildJob) -> None:
        """Let it build; ``poll`` finishes the job."""
        self.job, self._given_at, self._paused_s = job, time.monotonic(), 0.0
        if self.ready:
            self._start_clock()
        self._send(job.message)

    def stop(self) -> None:
        """Halt it where it is, with its linker; not before it listens for its owner's death."""
        if self._here and not self.stopped:
            self._stopped_at = time.monotonic()
            self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo ``stop``; its deadline is later by as much."""
        if self._stopped_at is not None:
            paused_s, self._stopped_at = time.monotonic() - self._stopped_at, None
            self.deadline += paused_s
            self._paused_s += paused_s
            self._signal(signal.SIGCONT)

    def poll(self) -> None:
        """Take in what it has said. It is dead afterwards if it died, was too slow or works for nobody."""
        try:
            while self.pipe.poll():
                self._heed(self.pipe.recv())
        except (EOFError, OSError):
            self.kill()
            self._fail(f"the compiler's process died ({self._cause()})")
        if self.job is not None and self.job.future.cancelled():
            self.kill()
            self.job.drop()
            self.job = None
        elif self._late():
            self.kill()
            what = (
                f"building took longer than {self._timeout_s:g} s"
                if self.ready
                else "loading TVM took too long"
            )
            self._fail(f"{what}; stopped")

    def kill(self) -> None:
        """End the process and its linker, stopped or not. Idempotent."""
        if self.alive:
            self.alive = False
            self._signal(signal.SIGKILL)
            self._process.wait()
            self.pipe.close()  # last: a worker that sees the pipe end takes its owner for dead

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # dead or frozen: poll() finds the end of the pipe or of its time
            self.pipe.send_bytes(message)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _heed(self, said: object) -> None:
        if isinstance(said, BuildResult):
            build_s = max(0.0, said.build_s - self._paused_s)
            self._finish(replace(said, build_s=build_s, link_s=min(said.link_s, build_s)))
            return
        self._here = True
        if said == _READY:
            self.ready, self.deadline = True, math.inf
            if self.job is not None:
                self._start_clock()

    def _start_clock(self) -> None:
        self.deadline = time.monotonic() + self._timeout_s
        self._starved_s = _starved_s(self._process.pid)

    def _late(self) -> bool:
        """Whether its time is up. It stands back for others, so time without a processor does not count."""
        if self.stopped or time.monotonic() < self.deadline:
            return False
        starved_s = _starved_s(self._process.pid)
        self.deadline += max(0.0, starved_s - self._starved_s)
        self._starved_s = max(starved_s, self._starved_s)
        return time.monotonic() >= self.deadline

    def _fail(self, error: str) -> None:
        waited_s = time.monotonic() - self._given_at - self._paused_s
        self._finish(BuildResult(error=error, build_s=waited_s))

    def _finish(self, result: BuildResult) -> None:
        job, self.job, self.deadline = self.job, None, math.inf
        if job is not None:
            job.finish(result)

    def _cause(self) -> str:
        code = self._process.returncode
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        lines = self._log.read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"{ended}; it said: {said[-1][:MAX_ERROR_CHARS]}" if said and code > 0 else ended


def _starved_s(pid: int) -> float:
    """How long a process and its children of now have waited for a processor; 0 where Linux does not tell."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        waited_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    except OSError:
        return 0.0
    return waited_ns / 1e9 + sum(_starved_s(int(child)) for child in children)


# ---- from here on: in the process


def serve(descriptor: int) -> None:
    """Build for ever what comes down the pipe: first how to link and set up, then one job after another."""
    pipe = Connection(descriptor)
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # TVM lets go of the interpreter while it compiles, so this thread hears of the owner's death at any time;
    threading.Thread(target=_listen, args=(pipe, messages), daemon=True).start()
    # where the process is stopped for a careful timing, the owner's death wakes it up to hear of it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    _tell(pipe, _HERE)
    from cost_models.tvm_import import tvm

    fcompile, setup = pickle.loads(messages.get())
    if setup is not None:
        setup()
    _tell(pipe, _READY)
    # gcc links in less than half the time of g++, and there is no C++ in a kernel
    compiler = os.environ.get("CXX") or shutil.which("gcc")
    link = _TimedLinker(fcompile or partial(tvm.support.cc.create_shared, cc=compiler))
    while True:
        _tell(pipe, _build(messages.get(), link))


def _listen(pipe: Connection, messages: "queue.SimpleQueue[bytes]") -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            messages.put(pipe.recv_bytes())
    folder = Path(os.environ["TMPDIR"])  # the pool's
    for _ in range(100):  # a linker at work and other workers that sweep may get in each other's way
        if not folder.exists():
            break
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _tell(pipe: Connection, message: object) -> None:
    with contextlib.suppress(OSError):  # the owner is dead: _listen has heard it and must come to its end
        pipe.send(message)


class _TimedLinker:
    """A linker as ``Executable.export_library`` takes it; TVM asks some for their attributes, too."""

    def __init__(self, link: Callable[..., Any]) -> None:
        self._link, self.spent_s = link, 0.0

    def __call__(self, *args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._link(*args, **options)
        finally:
            self.spent_s = time.perf_counter() - started

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


def _build(job: bytes, link: _TimedLinker) -> BuildResult:
    from cost_models.schedules.registers import require_own_registers
    from cost_models.schedules.sblocks import require_threads
    from cost_models.tvm_import import tvm

    started, link.spent_s = time.perf_counter(), 0.0
    path, error = None, None
    try:
        module, target, wanted = pickle.loads(job)
        require_threads(module, target, "kernel")
        require_own_registers(module, target, "kernel")
        # Weights come as arguments here; in a network the layout rewrite is done once, ahead of time.
        module = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
        tvm.compile(module, target).export_library(wanted, fcompile=link)
        path = Path(wanted)
    except Exception as raised:
        error = brief(raised)
    return BuildResult(path=path, error=error, build_s=time.perf_counter() - started, link_s=link.spent_s)
