"""Runs scheduled GPU kernels on the emulated GPU, every access checked, in a process of its own.

A kernel that hangs or ends the process costs only itself: the next one gets another process.
"""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.emulated_cuda.findings import Counts, Finding
from targets.emulated_cuda.gpus import nearest_gpu
from targets.emulated_cuda.libraries import VARIABLE, build_libraries
from targets.support.child_python import child_python

Arrays = tuple[NDArray[Any], ...]
_START_S = 120.0  # importing TVM takes 2 s on a quiet machine


@dataclass(frozen=True, slots=True)
class KernelRun:
    """A kernel and what it is to be called with.

    Attributes:
        name: for messages.
        mod: IRModule with the one function ``main``, scheduled for a GPU.
        arrays: one for each of its parameters, outputs too, with the shapes and dtypes that it declares.
        most_blocks: of a launch with more blocks run only so many, the first and the last among them; the
            rest of its result stays as it was given.
    """

    name: str
    mod: Any
    arrays: Arrays
    most_blocks: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """What came of it.

    Attributes:
        arrays: those that were given, as the kernel left them; as they were where it did not run.
        findings: what is wrong with it; empty for a sound kernel.
        counts: what its launches moved, by the CUDA kernel's name.
        source: the CUDA text, which the findings' lines are of; empty where it was not built.
        error: one line, where it could not be built, was refused by the GPU or did not end; else None.
    """

    arrays: Arrays
    findings: tuple[Finding, ...] = ()
    counts: dict[str, Counts] | None = None
    source: str = ""
    error: str | None = None

    @property
    def faults(self) -> list[str]:
        """All that is wrong, a line each."""
        return [*map(str, self.findings), *([self.error] if self.error else [])]


def check_kernels(runs: Iterable[KernelRun], arch: str, *, timeout_s: float = 120.0) -> Iterator[CheckedRun]:
    """Run kernels one after the other, each twice in another order of its threads; results in their order.

    Args:
        arch: of the GPU that they are for, such as ``sm_72``; one that is not known here is emulated by the
            nearest older one that is.
        timeout_s: building and running one kernel.

    Raises:
        MissingTool: no C++ compiler on this machine.
        CompileError, OSError: the emulated GPU's libraries could not be built.
    """
    build_libraries()
    with contextlib.ExitStack() as stack:
        child: _Child | None = None
        for run in runs:
            if child is None:
                child = stack.enter_context(_Child(nearest_gpu(arch)))
            done = child.check(run, timeout_s)
            if not isinstance(done, CheckedRun):
                child.kill()
                child, done = None, CheckedRun(run.arrays, error=f"kernel {run.name}: {done}")
            yield done


class _Child:
    """The process that runs kernels; see `emulated_check_host`."""

    def __init__(self, arch: str) -> None:
        ours, theirs = socket.socketpair()
        self._pipe = Connection(ours.detach())
        self._started = False
        with theirs:
            self._process = subprocess.Popen(
                child_python("cost_models.runner.emulated_check_host", str(theirs.fileno()), arch),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, VARIABLE: arch},
                start_new_session=True,  # with its compilers
            )

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def check(self, run: KernelRun, timeout_s: float) -> CheckedRun | str:
        """What came of a run, or why nothing did: then the process is of no more use."""
        deadline = time.monotonic() + timeout_s + (0.0 if self._started else _START_S)
        try:
            self._pipe.send_bytes(pickle.dumps(run))
            if not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                return f"did not end within {timeout_s:g} s on the emulated GPU"
            done = self._pipe.recv()
        except (EOFError, OSError):
            code = self._process.wait()
            ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return f"ended the emulated GPU's process ({ended})"
        self._started = True
        return done if isinstance(done, CheckedRun) else str(done)

    def kill(self) -> None:
        """End it, and a compiler that it may have started. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()


def blank_arrays(infos: Sequence[Any], seed: int = 0) -> Arrays:
    """Arrays for what `runner.arguments_of` tells: normal values, whole numbers of a byte for integers."""
    random = np.random.default_rng(seed)
    arrays = []
    for info in infos:
        shape, dtype = tuple(int(side) for side in info.shape), np.dtype(str(info.dtype))
        values = random.integers(0, 128, shape) if dtype.kind in "iu" else random.standard_normal(shape)
        arrays.append(values.astype(dtype))
    return tuple(arrays)
