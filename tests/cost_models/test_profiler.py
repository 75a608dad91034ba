"""The profiler on this machine: what it stores, what it does not repeat, what it leaves behind."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cost_models.environment import environment
from cost_models.errors import CostModelError
from cost_models.graph import GraphBuilder
from cost_models.kernels import Kernel, split_into_kernels
from cost_models.lowering import structural_hash
from cost_models.ops import Activation, Conv2d
from cost_models.profiler import Profiler, _fastest, kernel_module, tuned_modules
from cost_models.records import Measurement, Trial
from cost_models.store import MeasurementStore
from cost_models.table import LatencyTable
from targets import Target, TargetError, load_target

ROOT = Path(__file__).parents[2]
QUICK = """
schema_version: 1
name: quick-cpu
summary: this machine with as few samples as the schema allows
kind: local
tvm: {kind: llvm}
rpc: {key: quick-cpu}
dtypes: [float32, float16]
measure: {number: 1, repeat: 3, min_repeat_ms: 1, cooldown_ms: 0, timeout_s: 30}
"""


def kernel_of(channels: int, size: int = 16) -> Kernel:
    """A 3x3 depthwise convolution with ReLU."""
    net = GraphBuilder()
    value = net.conv_bn("conv", Conv2d(channels, channels, kernel=3, padding=1, groups=channels), "x")
    graph = net.build(net.add("act", Activation("relu"), value))
    (kernel,) = split_into_kernels(graph, {"x": (1, channels, size, size)})
    return kernel


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    path = tmp_path_factory.mktemp("target") / "quick-cpu.yaml"
    path.write_text(QUICK, encoding="utf-8")
    return load_target(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path_factory.mktemp("store") / "m.sqlite") as store:
        yield store


@pytest.fixture(scope="module")
def profiler(target: Target, store: MeasurementStore) -> Iterator[Profiler]:
    with Profiler(target, store) as profiler:
        yield profiler


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    """Addresses on which the processes accept connections."""
    pids = {process.pid for process in processes}
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.net_connections("inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after some time; one that nobody has reaped does not run."""
    _, left = psutil.wait_procs(processes, timeout=10)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_kernel_gets_its_default_timing_its_trials_and_the_timing_of_the_best(
    profiler: Profiler, store: MeasurementStore, target: Target
) -> None:
    kernel, seen = kernel_of(16), []
    made = profiler.measure(kernel, 3, seen.append)
    where = store.find_environment(environment(target))
    trials = store.trials(where, kernel.key)
    assert len(trials) == 3
    assert list(trials.values()) == seen
    assert len({trial.trace for trial in seen}) == 3
    assert list(store.measurements(where, kernel.key).values()) == made
    assert made[0].how == "default"
    assert all(len(m.samples_s) == 3 for m in made)
    assert store.kernels()[kernel.key] == kernel.description
    best = min(trial.median_s for trial in seen)
    tuned = [id_ for id_, m in store.measurements(where, kernel.key).items() if m.how == "tuned"]
    assert len(tuned) == (best < 1.1 * made[0].median_s)
    for id_ in tuned:
        assert trials[store.trial_of(id_)].median_s == best


def test_what_is_stored_is_not_done_again_and_more_trials_are_the_difference(
    profiler: Profiler, store: MeasurementStore, target: Target
) -> None:
    kernel, new = kernel_of(24), []
    profiler.measure(kernel, 2)
    where = store.find_environment(environment(target))
    before = store.trials(where, kernel.key), store.measurements(where, kernel.key)
    assert profiler.measure(kernel, 2, new.append) == []
    assert profiler.measure(kernel, 0, new.append) == []
    assert new == []
    assert (store.trials(where, kernel.key), store.measurements(where, kernel.key)) == before
    made = profiler.measure(kernel, 4, new.append)
    assert len(new) == 2
    after = store.trials(where, kernel.key)
    assert len(after) == len({trial.trace for trial in after.values()}) == 4
    assert "default" not in [m.how for m in made]


def test_no_trials_is_the_default_schedule_alone(profiler: Profiler, store: MeasurementStore) -> None:
    kernel = kernel_of(8)
    (made,) = profiler.measure(kernel, 0)
    assert (made.how, made.error) == ("default", None)
    assert kernel.key not in store.trial_counts(store.find_environment(profiler.fingerprint))
    table = LatencyTable.from_store(store, "quick-cpu", profiler.fingerprint)
    assert table.rows[kernel.key].samples_s == made.samples_s


def test_interrupted_kernel_goes_on_where_it_stopped(
    profiler: Profiler, store: MeasurementStore, target: Target
) -> None:
    kernel, seen = kernel_of(40), []

    def stop_at_second(trial: Trial) -> None:
        seen.append(trial)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profiler.measure(kernel, 4, stop_at_second)
    made = profiler.measure(kernel, 4, seen.append)
    where = store.find_environment(environment(target))
    assert list(store.trials(where, kernel.key).values()) == seen
    assert len({trial.trace for trial in seen}) == len(seen) == 4
    assert "default" not in [m.how for m in made]


def test_failed_default_timing_is_tried_again(
    profiler: Profiler, store: MeasurementStore, target: Target
) -> None:
    kernel = kernel_of(56)
    where = store.find_environment(environment(target))
    store.add_kernel(kernel.key, kernel.description)
    store.add_measurement(where, Measurement(kernel=kernel.key, how="default", error="device was gone"))
    (made,) = profiler.measure(kernel, 0)
    assert made.error is None
    assert profiler.measure(kernel, 0) == []


def test_tracker_and_server_are_on_loopback_and_gone_afterwards(target: Target, tmp_path: Path) -> None:
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        with Profiler(target, store):
            started = [child for child in mine.children(recursive=True) if child not in before]
            addresses = listening(started)
        assert len(addresses) >= 2
        assert {host for host, _ in addresses} == {"127.0.0.1"}
        assert alive(started) == []
    for address in addresses:
        with pytest.raises(ConnectionRefusedError), socket.create_connection(address, timeout=5):
            pass


def test_error_in_the_block_leaves_no_process(target: Target, tmp_path: Path) -> None:
    mine = psutil.Process()
    before, started = set(mine.children(recursive=True)), []

    def fail() -> None:
        with MeasurementStore.open(tmp_path / "m.sqlite") as store, Profiler(target, store):
            started.extend(child for child in mine.children(recursive=True) if child not in before)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert started
    assert alive(started) == []


SEARCHING = textwrap.dedent(
    """
    import os, signal, sys, threading, time
    from cost_models.profiler import Profiler
    from cost_models.store import MeasurementStore
    from targets import load_target
    sys.path.insert(0, "{tests}")
    from test_profiler import kernel_of

    main = threading.main_thread().ident

    def functions():
        frame = sys._current_frames()[main]
        while frame:
            yield frame.f_code.co_name
            frame = frame.f_back

    def interrupt():
        while "{function}" not in functions():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        target = load_target(sys.argv[1])
        with MeasurementStore.open(sys.argv[2]) as store, Profiler(target, store) as profiler:
            profiler.measure(kernel_of(32), 40)
    except KeyboardInterrupt:
        sys.exit(130)
    """
)


@pytest.mark.parametrize("function", ["generate_measure_candidates", "predict", "build"])
def test_ctrl_c_while_tvm_searches_is_no_crash(function: str, target: Target, tmp_path: Path) -> None:
    (tmp_path / "quick-cpu.yaml").write_text(QUICK, encoding="utf-8")
    script = SEARCHING.format(tests=Path(__file__).parent, function=function)
    command = [sys.executable, "-c", script, str(tmp_path / "quick-cpu.yaml"), str(tmp_path / "m.sqlite")]
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


def test_dtypes_that_are_not_measured_are_refused(target: Target, store: MeasurementStore) -> None:
    with pytest.raises(CostModelError, match="dtype float16: this release measures float32 only; leave"):
        Profiler(target, store, dtype="float16")
    with pytest.raises(TargetError, match="dtype is 'float61', allowed: float32, float16"):
        Profiler(target, store, dtype="float61")


def test_modules_worth_deploying(profiler: Profiler, store: MeasurementStore, target: Target) -> None:
    faster, slower, unmeasured = kernel_of(12), kernel_of(20), kernel_of(28)
    where = store.find_environment(environment(target))
    for kernel, how in ((faster, "tuned"), (slower, "default")):  # nothing is faster than a nanosecond
        profiler.measure(kernel, 1)
        (trial,) = store.trials(where, kernel.key)
        timing = Measurement(kernel=kernel.key, how=how, samples_s=(1e-9,))
        store.add_measurement(where, timing, trial=trial if how == "tuned" else None)
    wanted = [faster, slower, unmeasured]
    found = tuned_modules(store, environment(target), wanted, target.tvm_target())
    assert list(found) == [structural_hash(kernel_module(faster, target.tvm_target()))]
    other = environment(target) | {"device": "another"}
    assert tuned_modules(store, other, wanted, target.tvm_target()) == {}


def test_what_is_deployed_is_what_the_table_counts(tmp_path: Path, target: Target) -> None:
    """A newer timing replaces an older one of its kind for both, also a slower one."""
    fingerprint, kernel = environment(target), kernel_of(8)
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        place = store.add_environment(fingerprint)
        store.add_kernel(kernel.key, kernel.description)
        for how, trace, seconds in (("default", "", 4.0), ("tuned", "old", 1.0), ("tuned", "new", 2.0)):
            trial = (
                store.add_trial(place, kernel.key, Trial(trace=trace, samples_s=(1.0,))) if trace else None
            )
            timed = Measurement(kernel=kernel.key, how=how, samples_s=(seconds,))
            store.add_measurement(place, timed, trial=trial)
        table = LatencyTable.from_store(store, target.name, fingerprint)
        deployed = _fastest(store, place, kernel.key)
    assert table.rows[kernel.key].samples_s == (2.0,)
    assert deployed is not None
    assert deployed.trace == "new"
