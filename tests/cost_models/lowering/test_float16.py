"""Networks in float16: the same kernels as in float32, stored in half the bytes, with sums in float32."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import InvalidGraph, UnknownEnvironment
from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import (
    Activation,
    Add,
    ArgMax,
    AvgPool2d,
    Conv2d,
    GlobalAvgPool,
    Normalize,
    Op,
    Resize,
    Shape,
    ToByte,
)
from cost_models.ir.weights import random_weights
from cost_models.lowering import pipeline as lowering
from cost_models.lowering.best_schedules import kernel_module, tuned_modules
from cost_models.lowering.pipeline import compile_lowered, kernels, lower, structural_hash
from cost_models.onnx_io.exporter import to_onnx
from cost_models.profiling.blocks import time_blocks
from cost_models.profiling.context import MeasureContext, measure_context
from cost_models.profiling.profiler import measure
from cost_models.runner.runner import arguments_of
from cost_models.schedules.conv_template import find_conv
from cost_models.tuning.effort import Effort
from cost_models.tvm_import import relax, tvm
from search.architecture import load_architecture
from search.resolution import Resolution
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD, segmentation_head
from search.spaces.registry import get_space
from search.spaces.space import Part
from targets import Target, load_target

from ..measuring import kernel_of, quick_target, timings_of, trials_of

TARGET = load_target("local-cpu").tvm_target()
SIZE = Resolution(64, 128)
ROUNDING = 2.0**-11  # of float16, relative
Array = np.ndarray[Any, Any]


def on_tvm(model: onnx.ModelProto, *inputs: Array) -> Array:
    compiled = compile_lowered(lower(model, TARGET), TARGET, {})
    machine = relax.VirtualMachine(compiled.executable, tvm.cpu())
    made: Array = machine["main"](*map(tvm.runtime.tensor, inputs)).numpy()
    return made


def on_onnxruntime(model: onnx.ModelProto, *inputs: Array) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    (made,) = session.run(None, dict(zip(names, inputs, strict=True)))
    return np.asarray(made)


def one(op: Op) -> Graph:
    net = GraphBuilder()
    return net.build(net.add("made", op, "x"))


def error(graph: Graph, shape: Shape, values: Array | None = None) -> float:
    """Largest difference of TVM in float16 to onnxruntime in float32, as a fraction of the largest value."""
    x = np.random.default_rng(0).uniform(0, 2, shape) if values is None else values
    halves = x.astype(np.float16)
    wanted = on_onnxruntime(to_onnx(graph, {"x": shape}), halves.astype(np.float32))
    found = on_tvm(to_onnx(graph, {"x": shape}, dtype="float16"), halves)
    assert found.dtype == np.float16
    return float(np.abs(found.astype(np.float64) - wanted).max() / np.abs(wanted).max())


# --- what it computes ---


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (GlobalAvgPool(), (1, 4, 64, 128)),
        (AvgPool2d((49, 49), (16, 20)), (1, 4, 64, 128)),
        (Resize(align_corners=True, size=(33, 70)), (1, 4, 16, 32)),
        (Resize(align_corners=False, size=(33, 70)), (1, 4, 16, 32)),
        (Conv2d(256, 16, kernel=3, padding=2, dilation=2), (1, 256, 16, 32)),
        (Conv2d(24, 24, kernel=5, stride=2, padding=2, groups=24, bias=True), (1, 24, 16, 32)),
        (Conv2d(96, 48, groups=2), (1, 96, 8, 16)),
    ],
)
def test_a_sum_is_rounded_once_at_its_end(op: Op, shape: Shape) -> None:
    """But for weights, which are rounded, too, and the bias."""
    assert error(one(op), shape) < 4 * ROUNDING


def test_a_sum_does_not_stop_growing() -> None:
    """8192 ones add up to 2048 in float16."""
    ones = np.ones((1, 4, 64, 128))
    assert error(one(GlobalAvgPool()), ones.shape, ones) == 0
    assert error(one(AvgPool2d((64, 128), (1, 1))), ones.shape, ones) == 0


@pytest.mark.parametrize("kind", ["relu", "relu6", "hswish", "sigmoid", "hsigmoid"])
def test_activations(kind: Any) -> None:
    assert error(one(Activation(kind)), (1, 4, 8, 16)) < 4 * ROUNDING


def test_frames_are_normalised_in_float32() -> None:
    """In float16 255 times the mean alone is off by up to 0.03."""
    graph = one(Normalize(IMAGENET_MEAN, IMAGENET_STD))
    frame = np.arange(16 * 16 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 16, 16, 3)
    single, half = (to_onnx(graph, {"x": frame.shape}, dtype=dtype) for dtype in ("float32", "float16"))
    wanted, found = on_onnxruntime(single, frame), on_tvm(half, frame)
    np.testing.assert_array_equal(found, on_onnxruntime(half, frame))
    np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=ROUNDING, atol=1e-6)


def test_classes_are_those_of_the_largest_value_and_the_first_of_equals() -> None:
    net = GraphBuilder()
    graph = net.build(net.add("byte", ToByte(), net.add("class", ArgMax(), "x")))
    x = np.random.default_rng(0).standard_normal((1, 19, 16, 32)).astype(np.float16)
    x[:, 3] = x[:, 7] = x.max(1)
    found = on_tvm(to_onnx(graph, {"x": x.shape}, dtype="float16"), x)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, x.argmax(1))


# --- how it is written ---


def test_onnx_holds_float16_between_frame_and_classes() -> None:
    graph = load_architecture("squeezenas-mac-small").camera_network()
    model = onnx.shape_inference.infer_shapes(to_onnx(graph, {"frame": (1, *SIZE, 3)}, dtype="float16"))
    kinds = Counter(value.type.tensor_type.elem_type for value in model.graph.value_info)
    kind = onnx.TensorProto
    # in float32: the frame as numbers, less the mean, scaled
    assert kinds.keys() == {kind.UINT8, kind.FLOAT, kind.FLOAT16, kind.INT64}
    assert (kinds[kind.FLOAT], kinds[kind.UINT8], kinds[kind.INT64]) == (3, 1, 1)
    (given,), (made,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.elem_type == made.type.tensor_type.elem_type == kind.UINT8
    weights = {str(numpy_helper.to_array(tensor).dtype) for tensor in model.graph.initializer}
    assert weights == {"float16", "float32", "int64"}  # float32: mean and scale
    single = to_onnx(graph, {"frame": (1, *SIZE, 3)})
    assert len(model.SerializeToString()) < 0.6 * len(single.SerializeToString())


def test_a_graph_without_a_frame_takes_and_gives_float16() -> None:
    model = to_onnx(one(Conv2d(3, 4)), {"x": (1, 3, 8, 8)}, dtype="float16")
    kinds = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
    assert kinds == [onnx.TensorProto.FLOAT16] * 2
    assert {tensor.data_type for tensor in model.graph.initializer} == {onnx.TensorProto.FLOAT16}


def test_what_float16_cannot_hold_is_refused() -> None:
    graph, shapes = one(Conv2d(3, 4)), {"x": (1, 3, 8, 8)}
    weights = random_weights(graph)
    weights["made.weight"][0, 0, 0, 0] = -7e4
    said = r"^made\.weight: reaches 7e\+04 with batch norm.* folded in, float16 ends at 65504; use float32"
    with pytest.raises(InvalidGraph, match=said):
        to_onnx(graph, shapes, weights, dtype="float16")
    assert to_onnx(graph, shapes, weights)
    with pytest.raises(
        InvalidGraph, match=r"^net: dtype is 'int8', networks are written in float32 or float16$"
    ):
        to_onnx(graph, shapes, name="net", dtype="int8")


# --- kernels ---


def made_by_tvm(graph: Graph, inputs: Mapping[str, Shape]) -> Counter[str]:
    found = kernels(lower(to_onnx(graph, inputs, dtype="float16"), TARGET)).values()
    return Counter({kernel.hash: kernel.calls for kernel in found})


def some_parts() -> Iterator[Part]:
    """A block of every kind, everything around blocks of two spaces, and a whole network."""
    space = get_space("small")
    wanted = {(0, "skip"), (0, "k5e6"), (1, "k3e1g2"), (1, "k5e3"), (5, "k3e6d2")}
    for index, candidate, part in space.blocks(SIZE):
        if (index, candidate) in wanted:
            yield part
    for name in ("small", "mobilenetv3-small"):
        yield from get_space(name).fixed_parts(SIZE, segmentation_head(19))
    network = load_architecture("mobilenetv3-small-seg").camera_network()
    yield Part("network", network, {"frame": (1, *SIZE, 3)})


def test_networks_are_cut_as_in_float32() -> None:
    parts = list(some_parts())
    assert len(parts) == 5 + 2 * 4 + 1
    for part in parts:
        alone: Counter[str] = Counter()
        for kernel in split_into_kernels(part.graph, part.inputs):
            alone[structural_hash(kernel_module(kernel, TARGET, "float16"))] += 1
        assert alone == made_by_tvm(part.graph, part.inputs), part.name


def test_a_kernel_has_a_module_in_each_type() -> None:
    kernel = kernel_of(24)
    single, half = (kernel_module(kernel, TARGET, dtype) for dtype in ("float32", "float16"))
    assert structural_hash(single) != structural_hash(half)
    assert {str(argument.dtype) for argument in arguments_of(half)} == {"float16"}
    assert "T.float32(0.0)" in half.script()  # what it adds up in
    assert "float16" not in single.script()
    with pytest.raises(
        ValueError, match=r"^a convolution in float16; tiles are made for vectors of float32$"
    ):
        find_conv(half)


def test_networks_in_float32_are_lowered_as_tvm_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules are on record for these very modules."""
    graph = load_architecture("mobilenetv3-small-seg").camera_network()
    model = to_onnx(graph, {"frame": (1, *SIZE, 3)})
    with_pass = Counter(kernel.hash for kernel in kernels(lower(model, TARGET)).values())
    monkeypatch.setattr(lowering, "sums_in_float32", dict)
    assert Counter(kernel.hash for kernel in kernels(lower(model, TARGET)).values()) == with_pass


# --- measured ---


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return quick_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def context(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasureContext]:
    path = tmp_path_factory.mktemp("store") / "m.sqlite"
    with MeasurementStore.open(path) as store, measure_context(target, store, dtype="float16") as context:
        yield context


def test_a_kernel_is_searched_and_timed_in_float16(context: MeasureContext, target: Target) -> None:
    kernel, store = kernel_of(16), context.history.store
    measure(context, [kernel], Effort.alone(3))
    assert [trial.error for trial in trials_of(context, kernel).values()] == [None] * 3
    assert [timing.error for timing in timings_of(context, kernel)[None]][:1] == [None]
    (where,) = store.environments()
    assert where == store.find_environment(environment(target, "float16")) == context.history.environment
    trial_id, _ = store.fastest(where, kernel.key)[kernel.key]
    mods = tuned_modules(context.history, [kernel], context.tvm_target)
    half = structural_hash(kernel_module(kernel, context.tvm_target, "float16"))
    assert list(mods) == ([] if trial_id is None else [half])
    with pytest.raises(UnknownEnvironment, match="dtype 'float16' instead of 'float32'"):
        History.of(store, environment(target))


def test_schedules_are_lent_in_float16(context: MeasureContext) -> None:
    lender, borrower = kernel_of(24), kernel_of(32)
    effort = Effort(name="lending", trials=6, transfers=2, anchors=0.5, budget=0.5)
    measure(context, [lender, borrower], effort)
    found = [trial for k in (lender, borrower) for trial in trials_of(context, k).values()]
    assert {"transfer"} < {trial.origin for trial in found}
    assert {trial.error for trial in found} == {None}


def test_a_block_is_timed_whole_in_float16(context: MeasureContext) -> None:
    net = GraphBuilder()
    value = net.add("act", Activation("relu"), net.conv_bn("expand", Conv2d(8, 16), "x"))
    value = net.add("sum", Add(), net.conv_bn("project", Conv2d(16, 8), value), "x")
    graph, inputs = net.build(value), {"x": (1, 8, 8, 16)}
    measure(context, split_into_kernels(graph, inputs), Effort.alone(0))
    table = LatencyTable.from_history(context.history, context.target.name)
    (whole,) = time_blocks(context, table, [("block", graph, inputs)]).blocks
    assert whole.warm is not None
    assert whole.cold is not None
    assert len(whole.warm.samples_s) == len(whole.cold.samples_s) == 3
