"""Small kernels to build, and a look at the build pool's processes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from cost_models.tvm_import import tvm

ROOT = Path(__file__).parents[2]
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})


def scale(factor: float, extent: int = 16) -> Any:
    """Kernel: y = factor * x over ``extent`` floats."""
    x = tvm.te.placeholder((extent,), name="x")
    y = tvm.te.compute((extent,), lambda i: x[i] * tvm.tirx.const(factor, "float32"), name="y")
    return tvm.IRModule({"main": tvm.te.create_prim_func([x, y]).with_attr("global_symbol", "main")})


def run(path: Path | None, extent: int = 16) -> np.ndarray[Any, Any]:
    """What a kernel that was built makes of ones."""
    assert path is not None
    x = tvm.runtime.tensor(np.ones(extent, "float32"))
    y = tvm.runtime.tensor(np.zeros(extent, "float32"))
    tvm.runtime.load_module(str(path))["main"](x, y)
    return np.asarray(y.numpy())


def linker(before: Callable[[], object]) -> Callable[..., None]:
    """A linker that does ``before`` first."""

    def link(path: str, objects: list[str], options: Any = None, **more: Any) -> None:
        from tvm.support import cc

        before()
        cc.create_shared(path, objects, options, **more)

    return link


def once(flag: Path, action: Callable[[], object]) -> Callable[..., None]:
    """A linker that does ``action`` before it links the first module that comes, in any worker."""

    def first() -> None:
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        action()

    return linker(first)


def workers_of(process: psutil.Process) -> set[int]:
    return {child.pid for child in process.children() if "builder.worker" in str(child.cmdline())}


def worker_ids(count: int) -> set[int]:
    """The processes of the pool open here, once there are ``count``."""
    until(lambda: len(workers_of(psutil.Process())) == count)
    return workers_of(psutil.Process())


def until(true: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"did not become true within {within_s:g} s"
        time.sleep(0.02)


def stopped(workers: set[int]) -> bool:
    """Whether the processes and all below them stand still. On a busy machine Linux takes a moment for it.

    A child that ends just before its parent is stopped stays a zombie as long as the parent stands. Who has
    just called vfork sleeps, and cannot be stopped, until its child, which stands, runs another program.
    """
    family = [process for pid in workers for process in psutil.Process(pid).children(recursive=True)]
    family += [psutil.Process(pid) for pid in workers]
    still = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    awake = [process for process in family if process.status() not in still]
    return all(
        process.status() == psutil.STATUS_DISK_SLEEP
        and any(child.status() == psutil.STATUS_STOPPED for child in process.children())
        for process in awake
    )


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
