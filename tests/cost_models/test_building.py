import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from cost_models.building import BuildPool, brief
from cost_models.errors import CostModelError
from cost_models.tvm_import import tvm

ROOT = Path(__file__).parents[2]
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})


def scale(factor: float, extent: int = 16) -> Any:
    """Kernel: y = factor * x over ``extent`` floats."""
    x = tvm.te.placeholder((extent,), name="x")
    y = tvm.te.compute((extent,), lambda i: x[i] * tvm.tirx.const(factor, "float32"), name="y")
    return tvm.IRModule({"main": tvm.te.create_prim_func([x, y]).with_attr("global_symbol", "main")})


def refused_by_tvm() -> Any:
    """A function without buffers' storage that code generation does not accept."""
    parameters = scale(1.0)["main"].params
    body = tvm.tirx.Evaluate(tvm.tirx.call_extern("handle", "nothing"))
    return tvm.IRModule({"main": tvm.tirx.PrimFunc(parameters, body)})


def run(path: Path, extent: int = 16) -> np.ndarray[Any, Any]:
    x = tvm.runtime.tensor(np.ones(extent, "float32"))
    y = tvm.runtime.tensor(np.zeros(extent, "float32"))
    tvm.runtime.load_module(str(path))["main"](x, y)
    return np.asarray(y.numpy())


def once(flag: Path, action: Callable[[], None]) -> Callable[..., None]:
    """A linker that does ``action`` for the first module that comes, in any worker, and links the others."""

    def link(path: str, objects: list[str], options: Any = None, **more: Any) -> None:
        from tvm.support import cc

        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            cc.create_shared(path, objects, options, **more)
        else:
            action()

    return link


def worker_ids() -> set[int]:
    return {
        child.pid for child in psutil.Process().children() if "cost_models.building" in str(child.cmdline())
    }


def gone(pid: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_results_are_in_the_order_of_the_modules() -> None:
    with BuildPool(workers=2) as pool:
        results = pool.build([scale(float(factor)) for factor in range(5)], TARGET)
        for factor, result in enumerate(results):
            assert result.error is None
            assert result.path is not None
            assert result.build_s > 0
            assert run(result.path) == pytest.approx(factor)


def test_workers_stay_for_the_next_batch_and_leave_nothing_behind() -> None:
    with BuildPool(workers=2) as pool:
        workers = worker_ids()
        first = pool.build([scale(1.0)] * 3, TARGET)
        second = pool.build([scale(1.0)] * 3, TARGET)
        assert worker_ids() == workers
        assert len(workers) == 2
        paths = [result.path for result in first + second]
        assert len(set(paths)) == 6
    assert worker_ids() == set()
    assert paths[0] is not None
    assert not paths[0].parent.exists()


def test_a_module_that_tvm_refuses_costs_only_itself() -> None:
    with BuildPool(workers=2) as pool:
        good, bad, also_good = pool.build([scale(1.0), refused_by_tvm(), scale(2.0)], TARGET)
    assert good.error is also_good.error is None
    assert bad.path is None
    assert bad.error is not None
    assert "MakePackedAPI" in bad.error
    assert "\n" not in bad.error


def test_a_crash_of_the_compiler_costs_only_its_module(tmp_path: Path) -> None:
    crash = once(tmp_path / "flag", lambda: os.kill(os.getpid(), signal.SIGSEGV))
    with BuildPool(workers=2, fcompile=crash) as pool:
        errors = [result.error for result in pool.build([scale(1.0)] * 5, TARGET)]
        assert len(worker_ids()) == 2
    assert sorted(filter(None, errors)) == ["the compiler's process died (SIGSEGV)"]


def test_a_build_that_hangs_is_stopped_and_its_worker_replaced(tmp_path: Path) -> None:
    hang = once(tmp_path / "flag", lambda: time.sleep(600))
    with BuildPool(workers=2, timeout_s=2.0, fcompile=hang) as pool:
        before = worker_ids()
        errors = [result.error for result in pool.build([scale(1.0)] * 5, TARGET)]
        pool.build([scale(1.0)] * 2, TARGET)
        after = worker_ids()
    assert sorted(filter(None, errors)) == ["building took longer than 2 s; stopped"]
    assert len(before & after) == 1
    assert len(after) == 2


def test_workers_that_were_killed_or_frozen_are_replaced() -> None:
    with BuildPool(workers=2, timeout_s=2.0) as pool:
        pool.build([scale(1.0)] * 4, TARGET)
        killed, frozen = worker_ids()
        os.kill(killed, signal.SIGKILL)
        os.kill(frozen, signal.SIGSTOP)
        assert gone(killed)
        results = pool.build([scale(float(factor)) for factor in range(6)], TARGET)
        assert worker_ids().isdisjoint({killed, frozen})
        assert sum(result.error is not None for result in results) <= 2
        assert results[5].path is not None
        assert run(results[5].path) == pytest.approx(5.0)


def test_setup_runs_in_every_worker_and_its_error_is_told(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError(f"no compiler library in {tmp_path.name}")

    with BuildPool(workers=1, setup=fail) as pool:
        (result,) = pool.build([scale(1.0)], TARGET)
    assert result.error is not None
    assert "exit code 1" in result.error
    assert f"no compiler library in {tmp_path.name}" in result.error


def test_workers_have_no_pytorch() -> None:
    def check() -> None:
        if sys.modules.get("torch") is not None:
            raise RuntimeError("PyTorch is here")

    with BuildPool(workers=1, setup=check) as pool:
        assert pool.build([scale(1.0)], TARGET)[0].error is None


def test_an_interrupted_build_leaves_the_pool_usable(tmp_path: Path) -> None:
    owner = os.getpid()

    def interrupt() -> None:
        os.kill(owner, signal.SIGINT)
        time.sleep(600)

    with BuildPool(workers=2, fcompile=once(tmp_path / "flag", interrupt)) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.build([scale(1.0)] * 4, TARGET)
        assert run(pool.build([scale(3.0)], TARGET)[0].path or Path()) == pytest.approx(3.0)
    assert worker_ids() == set()


def test_workers_are_fresh_and_die_with_their_linkers_when_the_owner_is_killed(tmp_path: Path) -> None:
    script = f"""
    import os, subprocess, sys
    open({str(tmp_path / "main")!r} + str(os.getpid()), "w").close()
    sys.path.insert(0, {str(ROOT)!r})
    from cost_models.building import BuildPool
    from cost_models.tvm_import import tvm

    def hang(path, objects, options=None, **more):
        child = subprocess.Popen(["sleep", "600"])
        open({str(tmp_path / "linker")!r} + str(child.pid), "w").close()
        child.wait()

    x = tvm.te.placeholder((4,))
    y = tvm.te.compute((4,), lambda i: x[i] + x[i])
    module = tvm.IRModule({{"main": tvm.te.create_prim_func([x, y]).with_attr("global_symbol", "main")}})
    with BuildPool(workers=2, fcompile=hang) as pool:
        pool.build([module] * 2, tvm.target.Target("llvm"))
    """
    path = tmp_path / "owner.py"
    path.write_text(textwrap.dedent(script))
    folders = tmp_path / "folders"
    folders.mkdir()
    owner = subprocess.Popen([sys.executable, str(path)], env={**os.environ, "TMPDIR": str(folders)})
    try:
        while len(list(tmp_path.glob("linker*"))) < 2:
            assert owner.poll() is None, "the owner ended before its workers were linking"
            time.sleep(0.05)
        family = [child.pid for child in psutil.Process(owner.pid).children(recursive=True)]
        assert len(family) == 4
        assert len(list(folders.iterdir())) == 1
        assert len(list(tmp_path.glob("main*"))) == 1, "a worker ran the owner's script"
    finally:
        owner.kill()
        owner.wait()
    assert [pid for pid in family if not gone(pid)] == []
    assert list(folders.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"timeout_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CostModelError, match="workers must be >= 1 and timeout_s > 0, found"):
        BuildPool(**wrong)


def test_brief_is_one_line_with_the_last_words() -> None:
    assert (
        brief(ValueError("Traceback:\n  deep\n\nCheck failed: it is\n")) == "ValueError: Check failed: it is"
    )
    assert brief(ValueError()) == "ValueError: no message"
    assert len(brief(ValueError("x" * 1000))) == 300
