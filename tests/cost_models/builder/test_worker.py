"""Workers of the build pool as guests of a machine: they stop when told to, and never outstay."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from cost_models.builder.pool import BuildPool

from ..builds import ROOT, TARGET, gone, linker, run, scale, stopped, until, worker_ids, workers_of


def ticking(file: Path, ticks: int) -> Callable[..., None]:
    """A linker whose child process writes a byte every 10 ms before it links."""

    def tick() -> None:
        loop = f"for i in $(seq {ticks}); do printf . >> {file}; sleep 0.01; done"
        subprocess.run(["sh", "-c", loop], check=True)

    return linker(tick)


def test_workers_have_no_pytorch() -> None:
    def check() -> None:
        if sys.modules.get("torch") is not None:
            raise RuntimeError("PyTorch is here")

    with BuildPool(workers=1, setup=check) as pool:
        assert pool.build([scale(1.0)], TARGET)[0].error is None


@contextmanager
def hog(core: int) -> Iterator[None]:
    """Somebody else's process, busy on one core."""
    busy = subprocess.Popen(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"],
        start_new_session=True,
    )
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def test_time_without_a_processor_does_not_count_for_the_limit(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))

    def work() -> None:
        started, end_s = time.monotonic(), time.process_time() + 0.8
        while time.process_time() < end_s:
            pass
        (tmp_path / "took").write_text(str(time.monotonic() - started))

    def settle() -> None:
        os.sched_setaffinity(0, [core])

    with BuildPool(workers=1, timeout_s=1.5, setup=settle, fcompile=linker(work)) as pool, hog(core):
        (result,) = pool.build([scale(1.0)], TARGET)
    assert result.error is None
    assert float((tmp_path / "took").read_text()) > 1.5, "it was not starved; the test shows nothing"


def test_a_paused_build_makes_no_progress_and_its_time_does_not_run(tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    with BuildPool(workers=2, timeout_s=6.0, fcompile=ticking(ticks, 50)) as pool:
        future = pool.submit(scale(2.0), TARGET)
        until(ticks.exists)
        with pool.paused():
            until(lambda: stopped(worker_ids(2)))
            seen = ticks.stat().st_size
            waiting = pool.submit(scale(3.0), TARGET)
            time.sleep(6.5)
            assert ticks.stat().st_size == seen < 50
            assert not future.done()
            assert not waiting.done()
        result = future.result()
        assert result.error is None
        assert run(result.path) == pytest.approx(2.0)
        assert result.link_s <= result.build_s < 6.5
        assert waiting.result().error is None
        assert ticks.stat().st_size == 100


def test_the_outermost_pause_decides_and_an_error_ends_it() -> None:
    with BuildPool(workers=2) as pool:
        pool.build([scale(1.0)], TARGET)
        with suppress(ZeroDivisionError), pool.paused():
            with pool.paused():
                pass
            with pool.paused():
                until(lambda: stopped(worker_ids(2)))
            until(lambda: stopped(worker_ids(2)))
            raise ZeroDivisionError
        assert pool.build([scale(1.0)], TARGET)[0].error is None
        until(lambda: not any(stopped({worker}) for worker in worker_ids(2)))


def test_a_pool_may_be_closed_while_it_is_paused() -> None:
    with BuildPool(workers=2) as pool:
        workers = worker_ids(2)
        with pool.paused():
            pool.close()
            assert all(map(gone, workers))


OWNER = """
import subprocess, sys, time
from pathlib import Path
open({here!r} + "/main" + str(time.time_ns()), "w").close()
sys.path.insert(0, {root!r})
from cost_models.builder.pool import BuildPool

def hang(path, objects, options=None, **more):
    child = subprocess.Popen(["sleep", "600"])
    open({here!r} + "/linker" + str(child.pid), "w").close()
    child.wait()

def kernel():
    from cost_models.tvm_import import tvm
    x = tvm.te.placeholder((4,))
    y = tvm.te.compute((4,), lambda i: x[i] + x[i])
    module = tvm.IRModule({{"main": tvm.te.create_prim_func([x, y]).with_attr("global_symbol", "main")}})
    return module, tvm.target.Target("llvm")

def linking():
    for _ in range(2):
        pool.submit(*kernel())
    while len(list(Path({here!r}).glob("linker*"))) < 2:
        time.sleep(0.02)

with BuildPool(workers=2, fcompile=hang) as pool:
{then}
    print("now", flush=True)
    time.sleep(600)
"""


SLOW = pytest.mark.slow  # with a pause, the same ends


@pytest.mark.parametrize(
    ("then", "family_size"),
    [
        pytest.param("while len(pool._staff) < 2: time.sleep(0.001)", 2, id="loading-tvm"),
        pytest.param("linking()", 4, id="linking"),
        pytest.param("linking()\npause = pool.paused()\npause.__enter__()", 4, id="paused", marks=SLOW),
        pytest.param("pause = pool.paused()\npause.__enter__()", 2, id="paused-loading-tvm", marks=SLOW),
    ],
)
def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path, then: str, family_size: int) -> None:
    script, folders = tmp_path / "owner.py", tmp_path / "folders"
    folders.mkdir()
    code = OWNER.format(here=str(tmp_path), root=str(ROOT), then=textwrap.indent(then, "    "))
    script.write_text(code)
    owner = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "TMPDIR": str(folders)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    with owner.stdout:
        try:
            assert owner.stdout.readline() == "now\n"
            family = [child.pid for child in psutil.Process(owner.pid).children(recursive=True)]
            assert len(family) == family_size
            if "paused" in then:
                until(lambda: stopped(workers_of(psutil.Process(owner.pid))))
            assert len(list(folders.iterdir())) == 1
            assert len(list(tmp_path.glob("main*"))) == 1, "a worker ran the owner's script"
        finally:
            owner.kill()
            owner.wait()
    until(lambda: all(map(gone, family)))
    assert list(folders.iterdir()) == []
