import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cost_models.building import BuildPool
from cost_models.errors import CostModelError
from cost_models.running import Runner, RunSettings, arguments_of, make_arguments, run_kernel
from cost_models.tvm_import import tvm

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
QUICK = RunSettings(repeat=2, min_repeat_s=0.001, timeout_s=60.0)


@dataclass
class LoopbackSession:
    remote: Any
    device: Any


class Loopback:
    """A TVM server on this machine, started anew for each session; what the last one was running ends."""

    def __init__(self) -> None:
        self.server: Any = None
        self.sessions = 0

    def connect(self) -> LoopbackSession:
        self.stop()
        self.server = tvm.rpc.Server("127.0.0.1", 19090, 19290, key="test", silent=True)
        self.sessions += 1
        remote = tvm.rpc.connect("127.0.0.1", self.server.port, "test")
        return LoopbackSession(remote, remote.cpu(0))

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()

    @property
    def processes(self) -> list[psutil.Process]:
        family = psutil.Process().children(recursive=True)
        return [process for process in family if "popen_worker" in str(process.cmdline())]

    @property
    def files(self) -> set[str]:
        """Names of the files that sessions have uploaded."""
        return {file.name for process in self.processes[1:] for file in Path(process.cwd()).iterdir()}


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    loopback = Loopback()
    yield loopback
    loopback.stop()


@pytest.fixture(scope="module")
def pool() -> Iterator[BuildPool]:
    with BuildPool() as pool:
        yield pool


def add_up(rows: int, columns: int = 16) -> Any:
    """Kernel: the sum of each row. Unscheduled, on one core: 2**20 x 2**14 takes some 10 s."""
    x = tvm.te.placeholder((columns,), name="x")
    j = tvm.te.reduce_axis((0, columns), name="j")
    y = tvm.te.compute(
        (rows,), lambda i: tvm.te.sum(tvm.te.sin(x[j] + i.astype("float32")), axis=j), name="y"
    )
    return tvm.IRModule({"main": tvm.te.create_prim_func([x, y]).with_attr("global_symbol", "main")})


def built(pool: BuildPool, mod: Any) -> Path:
    (result,) = pool.build([mod], TARGET)
    assert result.path is not None, result.error
    return result.path


def test_samples_are_kept_one_a_repeat_and_the_file_is_removed(pool: BuildPool, loopback: Loopback) -> None:
    mod = add_up(64)
    session, path = loopback.connect(), built(pool, mod)
    session.remote.upload(str(path), "another.so")
    assert loopback.files == {"another.so"}
    result = run_kernel(session, path, arguments_of(mod), QUICK)
    assert result.error is None
    assert len(result.samples_s) == 2
    assert all(0 < sample_s < result.run_s for sample_s in result.samples_s)
    assert not result.hopeless
    assert loopback.files == {"another.so"}


def test_the_arguments_on_the_device_are_ordinary_numbers(loopback: Loopback) -> None:
    tensors = make_arguments(loopback.connect(), arguments_of(add_up(64)))
    assert [tuple(tensor.shape) for tensor in tensors] == [(16,), (64,)]
    values = tensors[1].numpy()
    assert (abs(values) > 1e-6).all()
    assert len(set(values.tolist())) > 1


def test_a_hopeless_kernel_gets_a_single_sample(pool: BuildPool, loopback: Loopback) -> None:
    mod = add_up(64)
    session, path = loopback.connect(), built(pool, mod)
    assert run_kernel(session, path, arguments_of(mod), QUICK, best_s=1e-12).hopeless
    assert len(run_kernel(session, path, arguments_of(mod), QUICK, best_s=1e-12).samples_s) == 1
    assert not run_kernel(session, path, arguments_of(mod), QUICK, best_s=1.0).hopeless


def test_a_broken_file_is_an_error_and_is_removed(
    tmp_path: Path, pool: BuildPool, loopback: Loopback
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("not a shared object")
    mod = add_up(64)
    runner = Runner(loopback.connect, QUICK)
    result = runner.measure(broken, arguments_of(mod))
    assert result.samples_s == ()
    assert result.error is not None
    assert "Failed to load dynamic shared library" in result.error
    assert "\n" not in result.error
    assert loopback.files == set()
    assert runner.measure(built(pool, mod), arguments_of(mod)).error is None
    assert loopback.sessions == 1


def test_wrong_arguments_are_an_error_and_the_session_goes_on(pool: BuildPool, loopback: Loopback) -> None:
    mod, path = add_up(64), built(pool, add_up(64))
    runner = Runner(loopback.connect, QUICK)
    result = runner.measure(path, arguments_of(mod)[:1])
    assert result.error is not None
    assert "main" in result.error
    assert runner.measure(path, arguments_of(mod)).error is None
    assert loopback.sessions == 1


def test_arguments_are_made_once_a_shape(pool: BuildPool, loopback: Loopback) -> None:
    small, large = add_up(64), add_up(128)
    runner = Runner(loopback.connect, QUICK)
    seen = []
    for mod in (small, small, large, small):
        assert runner.measure(built(pool, mod), arguments_of(mod)).error is None
        assert runner._arguments is not None
        seen.append(runner._arguments[1])
    assert seen[0] is seen[1]
    assert [tuple(arguments[1].shape) for arguments in seen] == [(64,), (64,), (128,), (64,)]


def test_a_kernel_that_takes_too_long_is_left_and_the_next_gets_a_new_session(
    pool: BuildPool, loopback: Loopback
) -> None:
    slow, quick = add_up(2**20, 2**14), add_up(64)
    slow_path, quick_path = built(pool, slow), built(pool, quick)
    runner = Runner(loopback.connect, RunSettings(repeat=2, min_repeat_s=0.001, timeout_s=2.0))
    assert runner.measure(quick_path, arguments_of(quick)).error is None
    started = time.monotonic()
    assert runner.measure(slow_path, arguments_of(slow)).error == "no answer from the device within 2 s"
    assert time.monotonic() - started < 10
    assert runner.measure(quick_path, arguments_of(quick)).error is None
    assert loopback.sessions == 2
    for thread in threading.enumerate():
        if thread.daemon and "_run_apart" in thread.name:
            thread.join(timeout=10)
            assert not thread.is_alive(), "the thread of the kernel that hung is still there"


def test_a_server_that_dies_costs_one_kernel(pool: BuildPool, loopback: Loopback) -> None:
    mod = add_up(64)
    path = built(pool, mod)
    runner = Runner(loopback.connect, QUICK)
    assert runner.measure(path, arguments_of(mod)).error is None
    for process in loopback.processes:
        process.kill()
    lost = runner.measure(path, arguments_of(mod))
    assert lost.samples_s == ()
    assert lost.error is not None
    assert runner.measure(path, arguments_of(mod)).error is None
    assert loopback.sessions == 2


def test_a_device_that_cannot_be_reached_ends_the_measuring() -> None:
    def unreachable() -> LoopbackSession:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(ConnectionRefusedError, match="nobody there"):
        Runner(unreachable).measure(Path("kernel.so"), [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeat": 0}, r"RunSettings.repeat must be >= 1, found 0"),
        ({"timeout_s": 0.0}, r"timeout_s > 0, give_up_factor > 1; found 0.02, 0.0, 0.0 and 20.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CostModelError, match=message):
        RunSettings(**wrong)
