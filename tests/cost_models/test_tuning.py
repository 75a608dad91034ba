import json
import math
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm.relax.frontend.onnx import from_onnx

from cost_models.building import BuildPool
from cost_models.errors import CostModelError
from cost_models.records import Trial
from cost_models.running import Runner, RunResult, RunSettings, arguments_of
from cost_models.tuning import SearchSettings, apply_trace, best_trial, tune
from cost_models.tvm_import import ms, relax, tvm

ROOT = Path(__file__).parents[2]
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
SMALL = SearchSettings(round_size=4, population=8, generations=1, random_trials=4)


def kernel_of(*nodes: Any, size: int, channels: int, weights: dict[str, Any] | None = None) -> Any:
    """The only kernel of an ONNX graph from x [1, channels, size, size] to z."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    mod = relax.get_pipeline("zero")(from_onnx(model, keep_params_in_input=False))
    (task,) = ms.relax_integration.extract_tasks(mod, TARGET)
    return task.dispatched[0]


def convolution(channels: int = 8, size: int = 16, kernel: int = 3, groups: int = 1) -> Any:
    weight = np.ones((channels, channels // groups, kernel, kernel), "float32")
    conv = helper.make_node("Conv", ["x", "w"], ["y"], group=groups, pads=[kernel // 2] * 4)
    relu = helper.make_node("Relu", ["y"], ["z"])
    return kernel_of(conv, relu, size=size, channels=channels, weights={"w": weight})


def resize() -> Any:
    node = helper.make_node("Resize", ["x", "", "scales"], ["z"], mode="linear")
    scales = np.array([1, 1, 2, 2], "float32")
    return kernel_of(node, size=8, channels=4, weights={"scales": scales})


@pytest.fixture(scope="module")
def pool() -> Iterator[BuildPool]:
    with BuildPool() as pool:
        yield pool


@pytest.fixture(scope="module")
def device() -> Iterator[Runner]:
    """Real timing on this machine, over RPC."""
    server = tvm.rpc.Server("127.0.0.1", 19090, 19290, key="test", silent=True)
    remote = tvm.rpc.connect("127.0.0.1", server.port, "test")
    session = SimpleNamespace(remote=remote, device=remote.cpu(0))
    yield Runner(lambda: session, RunSettings(repeat=3, min_repeat_s=0.001))
    server.terminate()


class Stopwatch:
    """A device on which the first kernel takes 1 ms, the next 2 ms and so on; remembers what it was given."""

    def __init__(self) -> None:
        self.best_s: list[float] = []

    def __call__(self, path: Path, args_info: Sequence[Any], best_s: float) -> RunResult:
        assert path.exists()
        self.best_s.append(best_s)
        return RunResult(samples_s=(1e-3 * len(self.best_s),), run_s=0.5)


def outputs(mod: Any, pool: BuildPool) -> Any:
    """What the kernel computes from fixed random arguments."""
    (result,) = pool.build([mod], TARGET)
    assert result.path is not None, result.error
    random = np.random.default_rng(0)
    shapes = [tuple(info.shape) for info in arguments_of(mod)]
    tensors = [tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes]
    tvm.runtime.load_module(str(result.path))["main"](*tensors)
    return tensors[-1].numpy()


def test_trials_are_reported_at_once_and_returned(pool: BuildPool) -> None:
    told: list[Trial] = []
    trials = tune(
        convolution(),
        TARGET,
        trials=6,
        build_pool=pool,
        measure=Stopwatch(),
        on_trial=told.append,
        settings=SMALL,
    )
    assert len(trials) == 6
    assert told == trials
    assert len({trial.trace for trial in trials}) == 6
    assert [trial.samples_s for trial in trials] == [(1e-3 * (i + 1),) for i in range(6)]
    assert all(trial.build_s > 0 and trial.run_s == 0.5 for trial in trials)


def test_measuring_is_told_the_best_so_far_from_history_too(pool: BuildPool) -> None:
    mod = convolution()
    first = Stopwatch()
    history = tune(mod, TARGET, trials=3, build_pool=pool, measure=first, settings=SMALL)
    assert first.best_s == [math.inf, 1e-3, 1e-3]
    second = Stopwatch()
    tune(mod, TARGET, trials=5, build_pool=pool, measure=second, history=history, settings=SMALL)
    assert second.best_s == [1e-3, 1e-3]


def test_history_counts_and_is_never_measured_again(pool: BuildPool) -> None:
    mod = convolution(channels=4, size=4, kernel=1)  # few schedules: a search that forgot would repeat some
    history = tune(mod, TARGET, trials=12, build_pool=pool, measure=Stopwatch(), settings=SMALL)
    trials = tune(
        mod, TARGET, trials=24, build_pool=pool, measure=Stopwatch(), history=history, settings=SMALL
    )
    assert trials[:12] == history
    assert len(trials) == 24
    assert len({trial.trace for trial in trials}) == 24


def test_a_full_history_leaves_nothing_to_do(pool: BuildPool) -> None:
    history = [Trial(trace="[]", samples_s=(1.0,))] * 2
    device = Stopwatch()
    assert tune(resize(), TARGET, trials=2, build_pool=pool, measure=device, history=history) == history
    assert device.best_s == []


def test_an_interrupted_search_goes_on_where_it_stopped(pool: BuildPool) -> None:
    stored: list[Trial] = []

    def store(trial: Trial) -> None:
        stored.append(trial)
        if len(stored) == 3:
            raise KeyboardInterrupt

    mod, device = convolution(), Stopwatch()
    with pytest.raises(KeyboardInterrupt):
        tune(mod, TARGET, trials=8, build_pool=pool, measure=device, on_trial=store, settings=SMALL)
    assert len(stored) == 3
    trials = tune(
        mod,
        TARGET,
        trials=8,
        build_pool=pool,
        measure=device,
        history=tuple(stored),
        on_trial=store,
        settings=SMALL,
    )
    assert stored == trials
    assert len(trials) == len({trial.trace for trial in trials}) == len(device.best_s) == 8


def test_same_seed_same_first_round_and_another_seed_another(pool: BuildPool) -> None:
    def first_round(seed: int) -> list[str]:
        trials = tune(
            convolution(), TARGET, trials=4, build_pool=pool, measure=Stopwatch(), settings=SMALL, seed=seed
        )
        return [trial.trace for trial in trials]

    assert first_round(1) == first_round(1)
    assert first_round(1) != first_round(2)


def test_a_kernel_without_reduction_ends_when_its_schedules_are_used_up(pool: BuildPool) -> None:
    trials = tune(resize(), TARGET, trials=500, build_pool=pool, measure=Stopwatch(), settings=SMALL)
    assert 1 <= len(trials) < 500
    assert all(trial.error is None for trial in trials)
    assert len({trial.trace for trial in trials}) == len(trials)


def test_kernels_that_cannot_be_built_or_run_are_trials_with_an_error() -> None:
    def cannot_link(path: str, objects: list[str], options: Any = None, **more: Any) -> None:
        raise RuntimeError("no linker for this board")

    with BuildPool(fcompile=cannot_link) as broken:
        device = Stopwatch()
        trials = tune(convolution(), TARGET, trials=5, build_pool=broken, measure=device, settings=SMALL)
    assert [trial.error for trial in trials] == ["RuntimeError: no linker for this board"] * 5
    assert device.best_s == []
    assert best_trial(trials) is None


def test_what_is_measured_is_deleted(pool: BuildPool) -> None:
    seen: list[Path] = []

    def fail(path: Path, args_info: Sequence[Any], best_s: float) -> RunResult:
        seen.append(path)
        return RunResult(error="the device is on fire")

    trials = tune(convolution(), TARGET, trials=2, build_pool=pool, measure=fail, settings=SMALL)
    assert [trial.error for trial in trials] == ["the device is on fire"] * 2
    assert len(seen) == 2
    assert not any(path.exists() for path in seen)


@pytest.mark.parametrize(
    "make", [convolution, lambda: convolution(kernel=1), lambda: convolution(groups=8), resize]
)
def test_traces_keep_what_the_kernel_computes(make: Callable[[], Any], pool: BuildPool) -> None:
    mod = make()
    trials = tune(mod, TARGET, trials=3, build_pool=pool, measure=Stopwatch(), settings=SMALL)
    expected = outputs(mod, pool)
    for trial in trials:
        np.testing.assert_allclose(
            outputs(apply_trace(mod, trial.trace), pool), expected, rtol=1e-4, atol=1e-4
        )


def test_a_trace_replays_in_another_process(pool: BuildPool, tmp_path: Path) -> None:
    mod = convolution()
    (trial,) = tune(mod, TARGET, trials=1, build_pool=pool, measure=Stopwatch(), settings=SMALL)
    json.loads(trial.trace)
    (tmp_path / "mod.json").write_text(tvm.ir.save_json(mod))
    (tmp_path / "trace.json").write_text(trial.trace)
    script = """
    import sys
    from pathlib import Path
    from cost_models.tuning import apply_trace
    from cost_models.tvm_import import tvm
    folder = Path(sys.argv[1])
    mod = tvm.ir.load_json((folder / "mod.json").read_text())
    scheduled = apply_trace(mod, (folder / "trace.json").read_text())
    (folder / "scheduled.json").write_text(tvm.ir.save_json(scheduled))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    elsewhere = tvm.ir.load_json((tmp_path / "scheduled.json").read_text())
    tvm.ir.assert_structural_equal(elsewhere, apply_trace(mod, trial.trace))
    np.testing.assert_allclose(outputs(elsewhere, pool), outputs(mod, pool), rtol=1e-4, atol=1e-4)


def test_a_trace_of_another_kernel_is_refused(pool: BuildPool) -> None:
    (trial,) = tune(convolution(), TARGET, trials=1, build_pool=pool, measure=Stopwatch(), settings=SMALL)
    with pytest.raises(CostModelError, match=r"schedule does not fit the kernel.*tune this one anew"):
        apply_trace(resize(), trial.trace)


def test_the_best_schedule_is_not_slower_than_none(pool: BuildPool, device: Runner) -> None:
    mod = convolution(channels=16, size=32)
    trials = tune(mod, TARGET, trials=12, build_pool=pool, measure=device.measure, settings=SMALL)
    best = best_trial(trials)
    assert best is not None
    paths = [result.path for result in pool.build([mod, apply_trace(mod, best.trace)], TARGET)]
    naive, tuned = (device.measure(path or Path(), arguments_of(mod)) for path in paths)
    assert min(tuned.samples_s) < 1.5 * min(naive.samples_s)


def test_best_is_the_lowest_median_of_those_without_error() -> None:
    failed = Trial(trace="a", error="no")
    lucky = Trial(trace="b", samples_s=(1.0, 5.0, 5.0))
    steady = Trial(trace="c", samples_s=(2.0, 2.0, 2.0))
    assert best_trial([failed, lucky, steady]) is steady
    assert best_trial([failed]) is None
    assert best_trial([]) is None


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(CostModelError, match=r"SearchSettings.population must be >= 1, found 0"):
        SearchSettings(population=0)
