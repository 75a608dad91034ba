"""The profiler when it is interrupted or its disk is full: nothing is lost, and nothing is left running."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cost_models.database.store import MeasurementStore
from cost_models.errors import StorageFull
from cost_models.profiling.context import measure_context
from cost_models.profiling.profiler import measure
from cost_models.tuning.effort import Effort
from cost_models.tuning.kernel_search import SearchSettings
from targets import Target

from ..measuring import ROOT, alive, contents, is_kept, kernel_of, quick_target, trials_of

SMALL = SearchSettings(round_size=3, population=6, generations=0)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return quick_target(tmp_path_factory.mktemp("target"))


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    """Addresses on which the processes accept connections."""
    pids = {process.pid for process in processes}
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.net_connections("inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]


def test_nothing_listens_and_nothing_is_left_afterwards(target: Target, tmp_path: Path) -> None:
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        with measure_context(target, store):
            started = [child for child in mine.children(recursive=True) if child not in before]
            assert listening([mine, *started]) == []
        assert alive(started) == []


def test_error_in_the_block_leaves_no_process(target: Target, tmp_path: Path) -> None:
    mine = psutil.Process()
    before, started = set(mine.children(recursive=True)), []

    def fail() -> None:
        with MeasurementStore.open(tmp_path / "m.sqlite") as store, measure_context(target, store):
            started.extend(child for child in mine.children(recursive=True) if child not in before)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert started
    assert alive(started) == []


def test_an_interrupted_profile_goes_on_where_it_stopped(target: Target, tmp_path: Path) -> None:
    kernels = [kernel_of(8), kernel_of(16)]

    def interrupt() -> None:
        if context.status.trials >= 2:
            raise KeyboardInterrupt

    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        with measure_context(target, store) as context, pytest.raises(KeyboardInterrupt):
            measure(context, kernels, Effort.alone(20), interrupt, settings=SMALL)
        before = contents(store)
        made = sum(map(len, before[0].values()))
        assert 2 <= made < 40
        wanted = max(map(len, before[0].values())) + 2
        with measure_context(target, store) as context:
            measure(context, kernels, Effort.alone(wanted), settings=SMALL)
            for kernel in kernels:
                trials = trials_of(context, kernel).values()
                assert len(trials) == len({trial.schedule for trial in trials}) == wanted
        assert context.status.trials == 2 * wanted - made
        assert is_kept(before, contents(store))


def test_what_a_display_raises_ends_the_profile(target: Target, tmp_path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with (
        MeasurementStore.open(tmp_path / "m.sqlite") as store,
        measure_context(target, store) as context,
        pytest.raises(ZeroDivisionError),
    ):
        measure(context, [kernel_of(8)], Effort.alone(200), fail, settings=SMALL)
    assert context.status.trials < 200


def test_a_disk_that_fills_up_costs_nothing_that_was_stored(
    target: Target, mount: Callable[[str], Path]
) -> None:
    disk, kernel = mount("size=4m"), kernel_of(16)
    path, ballast = disk / "m.sqlite", disk / "ballast"

    def fill_up() -> None:
        if context.status.trials >= 2 and not ballast.exists():
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    with MeasurementStore.open(path) as store:
        with pytest.raises(StorageFull) as caught, measure_context(target, store) as context:
            measure(context, [kernel], Effort.alone(20), fill_up, settings=SMALL)
        before = contents(store)
    text = str(caught.value)
    assert text.startswith(f"{path}: cannot be written (")
    assert text.endswith(
        "every result stored before is kept; make room on that disk and give the same command again"
    )
    assert "\n" not in text
    assert caught.value.exit_code == 2
    made = len(before[0][kernel.key])
    assert 2 <= made < 20
    ballast.unlink()
    with MeasurementStore.open(path, create=False) as store:
        assert contents(store) == before
        with measure_context(target, store) as context:
            measure(context, [kernel], Effort.alone(made + 2), settings=SMALL)
            trials = trials_of(context, kernel).values()
        assert len(trials) == len({trial.schedule for trial in trials}) == made + 2
        assert is_kept(before, contents(store))
        store.check()


INTERRUPTED = textwrap.dedent(
    """
    import os, signal, sys, threading, time
    sys.path.insert(0, "{root}")
    import pytest
    from cost_models.tuning.effort import Effort
    from cost_models.profiling.context import measure_context
    from cost_models.profiling.profiler import measure
    from cost_models.database.store import MeasurementStore
    from cost_models.tuning.kernel_search import SearchSettings
    from targets import load_target
    from tests.cost_models.measuring import kernel_of

    def functions():
        for thread in threading.enumerate():
            frame = sys._current_frames().get(thread.ident)
            while frame and thread.name == "{thread}":
                yield frame.f_code.co_name
                frame = frame.f_back

    def interrupt():
        while "{function}" not in functions():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        target = load_target(sys.argv[1])
        early = SearchSettings(population=16, random_trials=4)  # models schedules from then on
        with (
            MeasurementStore.open(sys.argv[2]) as store,
            measure_context(target, store) as context,
        ):
            measure(context, [kernel_of(32), kernel_of(64)], Effort.alone(40), settings=early)
    except KeyboardInterrupt:
        sys.exit(130)
    """
)


@pytest.mark.parametrize(
    ("thread", "function"),
    [
        ("MainThread", "lower"),  # of the reference kernel
        ("profiler", "_collect"),
        pytest.param("profiler", "build", marks=pytest.mark.slow),
        pytest.param("profiler", "generate_measure_candidates", marks=pytest.mark.slow),
        pytest.param("profiler", "_receive", marks=pytest.mark.slow),
        ("profiler", "predict"),
    ],
)
def test_ctrl_c_is_heard_at_once_and_is_no_crash(thread: str, function: str, tmp_path: Path) -> None:
    quick_target(tmp_path)
    script = INTERRUPTED.format(root=ROOT, thread=thread, function=function)
    command = [sys.executable, "-c", script, str(tmp_path / "quick.yaml"), str(tmp_path / "m.sqlite")]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert not list(tmp_path.glob("squeezenas-*"))
    with MeasurementStore.open(tmp_path / "m.sqlite", create=False) as store:
        store.check()
        trials, measurements = contents(store)
        stored = [*measurements.values(), *(trial for of in trials.values() for trial in of.values())]
        assert [one.error for one in stored if one.error] == []  # what was under way is not blamed
        assert len(stored) < 80
    left = [p for p in psutil.process_iter() if str(tmp_path) in " ".join(environment_of(p))]
    assert alive(left) == []


def environment_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except psutil.Error:
        return []
