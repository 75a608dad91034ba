"""Blocks as one module, timed on a real server of this machine."""

import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Add, Conv2d, Mul, Shape
from cost_models.lowering.pipeline import kernels, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.runner.module_runner import Cache, build_block, time_block
from cost_models.runner.runner import RunSettings, arguments_of, run_kernel
from cost_models.schedules.default import schedule_default
from cost_models.tvm_import import relax, tvm
from targets import Fleet, Session, Target, load_target, local_rpc, open_session

QUICK = RunSettings(repeat=3, min_repeat_s=0.001)
INPUTS: dict[str, Shape] = {"x": (1, 8, 16, 32)}


def inverted_residual(channels: int = 8, count: int = 1) -> Graph:
    """``count`` blocks in a row."""
    wide, net, value = 3 * channels, GraphBuilder(), "x"
    for i in range(count):
        expanded = net.conv_bn(f"{i}.expand", Conv2d(channels, wide), value)
        expanded = net.add(f"{i}.expand.act", Activation("relu"), expanded)
        depthwise = net.conv_bn(f"{i}.dw", Conv2d(wide, wide, kernel=3, padding=1, groups=wide), expanded)
        depthwise = net.add(f"{i}.dw.act", Activation("relu"), depthwise)
        value = net.add(
            f"{i}.sum", Add(), net.conv_bn(f"{i}.project", Conv2d(wide, channels), depthwise), value
        )
    return net.build(value)


def relu() -> Graph:
    net = GraphBuilder()
    return net.build(net.add("relu", Activation("relu"), "x"))


def gate() -> Graph:
    net = GraphBuilder(("x", "gate"))
    return net.build(net.add("product", Mul(), "x", "gate"))


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("local-cpu")


@pytest.fixture(scope="module")
def session(target: Target) -> Iterator[Session]:
    with open_session(target) as session:
        yield session


@pytest.fixture(scope="module")
def block(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("block") / "block.so"
    build_block(inverted_residual(), INPUTS, target.tvm_target(), {}, path)
    return path


@pytest.mark.parametrize(
    ("graph", "count"), [(relu(), 1), (inverted_residual(), 3), (inverted_residual(count=2), 3)]
)
def test_module_computes_what_onnxruntime_does(
    graph: Graph, count: int, target: Target, tmp_path: Path
) -> None:
    path = tmp_path / "block.so"
    compiled = build_block(graph, INPUTS, target.tvm_target(), {}, path)
    assert (len(compiled.tuned), len(compiled.default)) == (0, count)
    x = np.random.default_rng(0).standard_normal(INPUTS["x"]).astype("float32")
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    model = to_onnx(graph, INPUTS).SerializeToString()
    (expected,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(machine["main"](tvm.runtime.tensor(x)).numpy(), expected, atol=1e-4, rtol=1e-4)


def test_tuned_schedules_are_used(target: Target, tmp_path: Path) -> None:
    tvm_target = target.tvm_target()
    kernel, *_ = kernels(lower(to_onnx(inverted_residual(), INPUTS), tvm_target)).values()
    tuned = {kernel.hash: schedule_default(kernel.mod, tvm_target)}
    compiled = build_block(inverted_residual(), INPUTS, tvm_target, tuned, tmp_path / "block.so")
    assert (len(compiled.tuned), len(compiled.default)) == (1, 2)


@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_every_repeat_gives_a_sample(cache: Cache, block: Path, session: Session) -> None:
    result = time_block(session, block, INPUTS, QUICK, cache)
    assert result.error is None
    assert len(result.samples_s) == 3
    assert all(0 < sample_s < result.run_s for sample_s in result.samples_s)
    assert result.upload_s > 0


def test_it_is_work_for_a_fleet(block: Path, target: Target) -> None:
    with Fleet(target) as fleet:
        work = partial(time_block, path=block, input_shapes=INPUTS, settings=QUICK)
        done = fleet.submit(work, timeout_s=60.0).result(timeout=90.0)
    assert len(done.value.samples_s) == 3


def test_block_of_one_kernel_takes_about_what_the_kernel_takes(
    target: Target, session: Session, tmp_path: Path
) -> None:
    net, shapes = GraphBuilder(), {"x": (1, 48, 64, 64)}
    graph = net.build(net.conv_bn("conv", Conv2d(48, 96), "x"))
    build_block(graph, shapes, target.tvm_target(), {}, tmp_path / "block.so")
    (kernel,) = kernels(lower(to_onnx(graph, shapes), target.tvm_target())).values()
    scheduled = schedule_default(kernel.mod, target.tvm_target())
    tvm.compile(scheduled, target=target.tvm_target()).export_library(str(tmp_path / "kernel.so"))
    alone_s, whole_s = [], []
    for _ in range(4):
        alone = run_kernel(session, tmp_path / "kernel.so", arguments_of(scheduled), QUICK)
        whole = time_block(session, tmp_path / "block.so", shapes, QUICK)
        assert (alone.error, whole.error) == (None, None)
        alone_s += alone.samples_s
        whole_s += whole.samples_s
    assert 1 / 3 < min(whole_s) / min(alone_s) < 3


def test_cold_caches_slow_down_what_only_moves_memory(
    target: Target, session: Session, tmp_path: Path
) -> None:
    shapes = {"x": (1, 16, 128, 64)}  # 0.5 MB in, as much out: fits into the caches nearest to the cores
    build_block(relu(), shapes, target.tvm_target(), {}, tmp_path / "relu.so")
    warm_s, cold_s = [], []
    for _ in range(3):
        warm_s += time_block(session, tmp_path / "relu.so", shapes, QUICK, "warm").samples_s
        cold_s += time_block(session, tmp_path / "relu.so", shapes, QUICK, "cold").samples_s
    assert min(cold_s) > 1.5 * min(warm_s)
    assert statistics.median(cold_s) > statistics.median(warm_s)


def test_inputs_are_taken_in_the_order_of_the_block(target: Target, session: Session, tmp_path: Path) -> None:
    shapes: dict[str, Shape] = {"x": (1, 8, 16, 32), "gate": (1, 8, 1, 1)}
    path = tmp_path / "gate.so"
    build_block(gate(), shapes, target.tvm_target(), {}, path)
    assert time_block(session, path, shapes, QUICK).error is None
    swapped = time_block(session, path, {"gate": shapes["gate"], "x": shapes["x"]}, QUICK)
    assert swapped.samples_s == ()
    assert swapped.error is not None
    assert "\n" not in swapped.error
    assert "16" in swapped.error
    assert time_block(session, path, shapes, QUICK).error is None


def test_another_block_under_the_same_name_is_not_mistaken_for_the_first(
    target: Target, session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "same.so"
    for size in (8, 16):
        shapes = {"x": (1, 8, size, size)}
        build_block(relu(), shapes, target.tvm_target(), {}, path)
        assert time_block(session, path, shapes, QUICK).error is None


def test_file_that_does_not_load_is_an_error_of_one_line(
    block: Path, session: Session, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("not a shared object")
    result = time_block(session, broken, INPUTS, QUICK)
    assert result.samples_s == ()
    assert result.error is not None
    assert "Failed to load dynamic shared library" in result.error
    assert "\n" not in result.error
    assert time_block(session, block, INPUTS, QUICK).error is None


def test_lost_session_is_no_result_of_the_block(block: Path, target: Target) -> None:
    with local_rpc(target.rpc.key) as server, open_session(target, server) as session:
        server.restart()
        with pytest.raises(Exception, match=r"[Cc]lose|[Rr]eset|[Bb]roken|[Ss]ocket"):
            time_block(session, block, INPUTS, QUICK)
