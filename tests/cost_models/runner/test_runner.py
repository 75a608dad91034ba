"""Timing over RPC: real servers, real kernels, files that must be gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cost_models.builder.pool import BuildPool
from cost_models.errors import CostModelError
from cost_models.runner.rounds import Care
from cost_models.runner.runner import (
    RunSettings,
    arguments_of,
    make_arguments,
    run_kernel,
    time_carefully,
)
from cost_models.tvm_import import tvm
from targets.spec import Measure

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
QUICK = RunSettings(repeat=2, min_repeat_s=0.001)
EASY = Care(interval_width=1e9, drift=1e9)  # content with the least


@dataclass
class LoopbackSession:
    remote: Any
    device: Any
    processes: list[psutil.Process]
    scratch: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        """Names of the files that lie in the session's folder."""
        return {file.name for process in self.processes[1:] for file in Path(process.cwd()).iterdir()}


def workers() -> list[psutil.Process]:
    """Processes of TVM's servers and sessions."""
    family = psutil.Process().children(recursive=True)
    return [process for process in family if "popen_worker" in str(process.cmdline())]


@contextmanager
def connected() -> Iterator[LoopbackSession]:
    """A session with a TVM server on this machine."""
    others = workers()
    server = tvm.rpc.Server("127.0.0.1", 19090, 19290, key="test", silent=True)
    try:
        remote = tvm.rpc.connect("127.0.0.1", server.port, "test")
        yield LoopbackSession(remote, remote.cpu(0), [found for found in workers() if found not in others])
    finally:
        server.terminate()


@pytest.fixture(scope="module")
def shared_session() -> Iterator[LoopbackSession]:
    with connected() as session:
        yield session


@pytest.fixture
def session(shared_session: LoopbackSession) -> LoopbackSession:
    return replace(shared_session, scratch={})


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


# --- trials ---


def test_samples_are_kept_one_a_repeat_and_the_file_is_removed(
    pool: BuildPool, session: LoopbackSession
) -> None:
    mod = add_up(64)
    path = built(pool, mod)
    session.remote.upload(str(path), "another.so")
    assert session.files == {"another.so"}
    result = run_kernel(session, path, arguments_of(mod), QUICK)
    assert result.error is None
    assert len(result.samples_s) == 2
    assert all(0 < sample_s < result.run_s for sample_s in result.samples_s)
    assert result.upload_s > 0
    assert not result.hopeless
    assert session.files == {"another.so"}
    session.remote.remove("another.so")


def test_the_arguments_on_the_device_are_ordinary_numbers(session: LoopbackSession) -> None:
    tensors = make_arguments(session, arguments_of(add_up(64)))
    assert [tuple(tensor.shape) for tensor in tensors] == [(16,), (64,)]
    values = tensors[1].numpy()
    assert (abs(values) > 1e-6).all()
    assert len(set(values.tolist())) > 1


def test_a_hopeless_kernel_gets_a_single_sample(pool: BuildPool, session: LoopbackSession) -> None:
    mod = add_up(64)
    path = built(pool, mod)
    assert run_kernel(session, path, arguments_of(mod), QUICK, best_s=1e-12).hopeless
    assert len(run_kernel(session, path, arguments_of(mod), QUICK, best_s=1e-12).samples_s) == 1
    assert not run_kernel(session, path, arguments_of(mod), QUICK, best_s=1.0).hopeless


def test_a_kernel_that_is_clearly_slower_than_the_best_gets_a_single_sample(
    pool: BuildPool, session: LoopbackSession
) -> None:
    mod = add_up(64)
    path = built(pool, mod)
    best_s = min(run_kernel(session, path, arguments_of(mod), QUICK).samples_s)
    patient = replace(QUICK, give_up_factor=1e9)
    beaten = run_kernel(session, path, arguments_of(mod), patient, best_s=best_s / 100)
    assert (len(beaten.samples_s), beaten.hopeless) == (1, False)
    assert len(run_kernel(session, path, arguments_of(mod), patient, best_s=best_s * 100).samples_s) == 2


@pytest.mark.parametrize("carefully", [False, True])
def test_a_broken_file_is_an_error_and_is_removed(
    tmp_path: Path, pool: BuildPool, session: LoopbackSession, carefully: bool
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("not a shared object")
    args_info = arguments_of(add_up(64))
    result: Any
    if carefully:
        result = time_carefully(session, broken, args_info, QUICK, EASY)
    else:
        result = run_kernel(session, broken, args_info, QUICK)
    assert result.samples_s == ()
    assert result.error is not None
    assert "Failed to load dynamic shared library" in result.error
    assert "\n" not in result.error
    assert result.upload_s > 0
    assert result.run_s == 0.0
    assert session.files == set()
    assert run_kernel(session, built(pool, add_up(64)), args_info, QUICK).error is None


def test_wrong_arguments_are_an_error_and_the_session_goes_on(
    pool: BuildPool, session: LoopbackSession
) -> None:
    mod, path = add_up(64), built(pool, add_up(64))
    for result in (
        run_kernel(session, path, arguments_of(mod)[:1], QUICK),
        time_carefully(session, path, arguments_of(mod)[:1], QUICK, EASY),
    ):
        assert result.error is not None
        assert "main" in result.error
        assert result.samples_s == ()
        assert result.run_s > 0
    assert run_kernel(session, path, arguments_of(mod), QUICK).error is None


def test_arguments_are_made_once_a_shape(pool: BuildPool, session: LoopbackSession) -> None:
    small, large = add_up(64), add_up(128)
    seen = []
    for mod in (small, small, large, small):
        assert run_kernel(session, built(pool, mod), arguments_of(mod), QUICK).error is None
        (arguments,) = session.scratch["arguments"].values()  # of the last shapes alone
        seen.append(arguments)
    assert seen[0] is seen[1]
    assert [tuple(arguments[1].shape) for arguments in seen] == [(64,), (64,), (128,), (64,)]


def test_a_lost_session_is_an_error(pool: BuildPool) -> None:
    mod = add_up(64)
    path = built(pool, mod)
    with connected() as session:
        assert run_kernel(session, path, arguments_of(mod), QUICK).error is None
        for process in session.processes:
            process.kill()
        assert run_kernel(session, path, arguments_of(mod), QUICK).error is not None
        assert time_carefully(session, path, arguments_of(mod), QUICK, EASY).error is not None


# --- careful timing ---


def test_careful_timing_keeps_all_samples_with_those_of_the_reference_between(
    pool: BuildPool, session: LoopbackSession
) -> None:
    mod = add_up(64)
    calls = []

    def reference(given: Any) -> tuple[float, ...]:
        calls.append(given)
        return (1.0, 1.0 + len(calls))

    care = Care(interval_width=1e9, drift=1e9, burst=4)
    timing = time_carefully(session, built(pool, mod), arguments_of(mod), QUICK, care, reference)
    assert timing.error is None
    assert len(timing.samples_s) == 2 * 4
    assert all(0 < sample_s < timing.run_s for sample_s in timing.samples_s)
    assert calls == [session] * 3
    assert timing.reference_s == (1.0, 2.0, 1.0, 3.0, 1.0, 4.0)
    assert timing.upload_s > 0
    assert session.files == set()


def test_without_a_reference_there_are_no_samples_of_it(pool: BuildPool, session: LoopbackSession) -> None:
    mod = add_up(64)
    timing = time_carefully(session, built(pool, mod), arguments_of(mod), QUICK, EASY)
    assert timing.error is None
    assert timing.reference_s == ()
    assert [note for note in timing.notes if not note.startswith("outliers")] == []


def test_a_slow_kernel_gets_as_many_samples_as_the_budget_allows(
    pool: BuildPool, session: LoopbackSession
) -> None:
    mod = add_up(64)
    path, settings = built(pool, mod), RunSettings(min_repeat_s=0.02)
    care = Care(interval_width=1e9, drift=1e9, burst=50, budget_s=0.08)
    timing = time_carefully(session, path, arguments_of(mod), settings, care)
    assert len(timing.samples_s) == 2 * 2
    assert "few samples: 4" in timing.notes


def test_a_state_slower_than_earlier_in_the_session_is_noted(
    pool: BuildPool, session: LoopbackSession
) -> None:
    mod = add_up(64)
    path = built(pool, mod)

    def notes(level_s: float) -> list[str]:
        timing = time_carefully(session, path, arguments_of(mod), QUICK, EASY, lambda _: (level_s,))
        return [note for note in timing.notes if note.startswith("slow state")]

    assert notes(2.0) == []
    assert notes(1.0) == []
    assert notes(1.2) == []
    assert notes(2.0) == ["slow state: the reference took 2.00 times its fastest so far"]


class Coarse:
    """The remote end with a clock that knows seconds only: 1 s, whatever is timed."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind
        self.min_repeat_ms: list[int] = []
        self.entry_name = "main"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def load_module(self, name: str) -> Any:
        self._module = self._behind.load_module(name)
        return self

    def time_evaluator(self, name: str, device: Any, repeat: int, **options: Any) -> Any:
        evaluator = self._module.time_evaluator(name, device, repeat=repeat, **options)
        self.min_repeat_ms += [options["min_repeat_ms"]] if "min_repeat_ms" in options else []

        def evaluate(*arguments: Any) -> Any:
            return type(
                "Result", (), {"results": tuple(round(s) + 1.0 for s in evaluator(*arguments).results)}
            )

        return evaluate


def test_a_coarse_clock_gets_longer_samples_once(pool: BuildPool, session: LoopbackSession) -> None:
    mod = add_up(64)
    coarse = Coarse(session.remote)
    session.remote = coarse
    care = Care(interval_width=1e9, drift=1e9, burst=3, budget_s=30.0)
    timing = time_carefully(session, built(pool, mod), arguments_of(mod), QUICK, care)
    assert timing.error is None
    assert coarse.min_repeat_ms == [1, 1, 4, 4]
    assert timing.samples_s == (1.0,) * 6
    assert timing.notes == ("coarse clock: samples of 4 ms",)


# --- settings ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeat": 0}, r"RunSettings.repeat must be >= 1, found 0"),
        ({"timeout_s": 0.0}, r"timeout_s > 0, both factors > 1; found 0.02, 0.0, 0.0, 20.0 and 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CostModelError, match=message):
        RunSettings(**wrong)


def test_settings_as_a_target_file_says() -> None:
    measure = Measure(number=2, repeat=9, min_repeat_ms=5, cooldown_ms=7, timeout_s=11.0)
    assert RunSettings.of(measure) == RunSettings(
        number=2, repeat=9, min_repeat_s=0.005, cooldown_s=0.007, timeout_s=11.0
    )
