"""Compiles kernels in parallel, in processes that load TVM once and take nobody with them when they crash.

One thread of the pool, the dispatcher, starts the processes, hands them jobs and collects what they answer.
When the owner closes the pool or is killed, they die at once, and their linkers too: see `worker`.
"""

import contextlib
import itertools
import math
import os
import pickle
import shutil
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from cost_models.builder.worker import BuildJob, BuildResult, Worker
from cost_models.errors import CostModelError
from targets.support.text import brief
from targets.toolchain.tools import Tools

__all__ = ["BuildPool", "BuildResult", "brief"]

_CUDA_TIMEOUT_S = 20.0  # NVRTC takes 0.3 to 9 s for what a search proposes


class BuildPool:
    """Processes that compile for this machine or, with ``fcompile``, for another.

    Args:
        workers: processes; ``None`` takes one for each core this process may use.
        timeout_s: compiling and linking one module; what takes longer is stopped and reported. Time in which
            others keep it from a processor does not count. On CPUs fast schedules build in 0.1 to 1 s; those
            that unroll a stem wholly would take minutes.
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
        timeout_s: float = 5.0,
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
        self._numbers = itertools.count(1)
        self._bell, self._ear = socket.socketpair()  # a byte wakes the dispatcher up
        self._bell.setblocking(False)
        # Not the caller's thread: when the thread that started a process ends, Linux tells the process that
        # its parent died.
        self._dispatcher = threading.Thread(target=self._dispatch, name="build-dispatcher", daemon=True)
        self._staff: list[Worker] = []  # the dispatcher's alone
        self._changed = threading.Condition()  # guards what follows
        self._waiting: deque[BuildJob] = deque()
        self._open = False
        self._failure: Exception | None = None
        self._pauses = 0
        self._still = False  # all workers are stopped

    @classmethod
    def of(cls, tools: Tools) -> "BuildPool":
        """A worker for each core, with the tools of a target."""
        if tools.cuda is None:
            return cls(fcompile=tools.linker)
        return cls(timeout_s=_CUDA_TIMEOUT_S, fcompile=tools.linker, setup=tools.install)

    def __enter__(self) -> "BuildPool":
        self._open = True
        self._dispatcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers, delete what they built, cancel the futures that are not done. Idempotent."""
        self._open = False
        self._wake()
        if self._dispatcher.ident is not None:
            self._dispatcher.join()
        self._bell.close()
        self._ear.close()
        self._folder.cleanup()

    def submit(
        self, module: Any, target: Any, *, on_done: Callable[[Future[BuildResult]], object] | None = None
    ) -> Future[BuildResult]:
        """Compile an IRModule for a TVM target, after those submitted before. From any thread.

        A module that cannot be pickled, that TVM refuses, that crashes the compiler or that takes too long
        costs only itself: its result has an ``error``. Until it is done the future can be cancelled, also
        while it is being built: the worker is stopped and replaced.

        Args:
            on_done: called with the future when that is done or cancelled, as a rule by the dispatcher, which
                does nothing else meanwhile: be quick.

        Raises:
            CostModelError: the pool is closed, or has failed because the system refused it a process, a file
                or memory. Futures that were not done then raise what the system said.
        """
        future: Future[BuildResult] = Future()
        if on_done is not None:
            future.add_done_callback(on_done)
        try:
            message = pickle.dumps((module, target, str(self.new_path(".so"))))
        except Exception as error:
            future.set_result(BuildResult(error=brief(error)))
            return future
        future.add_done_callback(lambda _: self._wake())  # cancelled: a worker may be at it
        with self._changed:
            if not self._open:
                why = (
                    f"it failed with {brief(self._failure)}" if self._failure else "submit in its with block"
                )
                raise CostModelError(f"BuildPool.submit: the pool is not open; {why}")
            self._waiting.append(BuildJob(message, future))
        self._wake()
        return future

    def build(self, modules: Sequence[Any], target: Any) -> list[BuildResult]:
        """``submit`` all and wait for them; results in the order of ``modules``. Ctrl-C cancels them."""
        futures: list[Future[BuildResult]] = []
        try:
            for module in modules:
                futures.append(self.submit(module, target))
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No worker and no linker runs in this block, for a careful timing on this machine. May be nested.

        They are stopped where they are and go on after it; the pause counts for no time limit and not in
        ``build_s``. Modules may be submitted meanwhile.
        """
        with self._changed:
            self._pauses += 1
        try:
            self._wake()
            with self._changed:
                self._changed.wait_for(lambda: self._still or not self._dispatcher.is_alive())
            yield
        finally:
            with self._changed:
                self._pauses -= 1
            self._wake()

    def new_path(self, suffix: str) -> Path:
        """Of a file to be, in the folder that goes with the pool, also where its owner is killed."""
        folder = Path(self._folder.name)
        folder.mkdir(exist_ok=True)  # something may have swept the temporary folder in a long run
        return folder / f"{next(self._numbers)}{suffix}"

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._bell.send(b".")

    def _dispatch(self) -> None:
        try:
            for _ in range(self.workers):
                self._start()
            while self._open:
                self._obey_pauses()
                self._hand_out()
                self._collect()
        except Exception as error:  # no more processes, files or memory to be had
            self._failure = error
        with self._changed:
            self._open, self._still = False, True
            self._changed.notify_all()
        for worker in self._staff[1:]:
            worker.kill()
        if self._failure is None:  # while there is one worker left, who does it if the owner is killed now
            shutil.rmtree(self._folder.name, ignore_errors=True)
        for worker in self._staff[:1]:
            worker.kill()
        for job in [*(worker.job for worker in self._staff if worker.job), *self._waiting]:
            job.drop(self._failure)

    def _start(self) -> Worker:
        worker = Worker(self._greeting, self.new_path(".log"), self.timeout_s)
        self._staff.append(worker)
        return worker

    def _obey_pauses(self) -> None:
        with self._changed:
            for worker in self._staff:
                if self._pauses:
                    worker.stop()
                else:
                    worker.go_on()
            self._still = self._pauses > 0 and all(worker.stopped for worker in self._staff)
            self._changed.notify_all()

    def _hand_out(self) -> None:
        idle = sorted((worker for worker in self._staff if worker.job is None), key=lambda w: w.ready)
        while self._waiting and not self._pauses and (idle or len(self._staff) < self.workers):
            if self._waiting[0].future.cancelled():
                self._waiting.popleft().drop()
            else:
                worker = idle.pop() if idle else self._start()
                worker.give(self._waiting.popleft())

    def _collect(self) -> None:
        """Wait until a worker says something, one is late or somebody rings; take in what they say."""
        first = min((worker.deadline for worker in self._staff if not worker.stopped), default=math.inf)
        timeout_s = None if first == math.inf else max(0.0, first - time.monotonic())
        if self._ear in wait([self._ear, *(worker.pipe for worker in self._staff)], timeout_s):
            self._ear.recv(4096)
        for worker in self._staff:
            worker.poll()
        self._staff = [worker for worker in self._staff if worker.alive]
