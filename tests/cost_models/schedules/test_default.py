"""Default schedules: right at every size, fast, small in memory, and never in the way."""

import re
import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cost_models.lowering.pipeline import kernels, lower, structural_hash
from cost_models.schedules.default import schedule_default
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import tvm, tvm_ffi

te = tvm.te
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})


def machine(cpu: str, triple: str = "x86_64-linux-gnu", cores: int = 2) -> Any:
    return tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": cpu, "num-cores": cores})


def features(target: Any) -> set[str]:
    """What a kernel built for the target needs of the machine."""
    return {str(f) for f in tvm.target.codegen.llvm_get_cpu_features(target)} & {"avx", "avx2", "avx512f"}


def kernel(*nodes: Any, shape: tuple[int, ...], **weights: Any) -> Any:
    """The only kernel of an ONNX graph from ``x`` to ``z``, not scheduled."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (found,) = kernels(lower(onnx.shape_inference.infer_shapes(model), TARGET)).values()
    return found.mod


def convolution(
    inputs: int,
    outputs: int,
    height: int,
    width: int,
    window: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Any:
    weight = np.zeros((outputs, inputs // groups, window, window), "float32")
    conv = helper.make_node(
        "Conv",
        ["x", "weight", "bias"],
        ["y"],
        pads=[window // 2 * dilation] * 4,
        strides=[stride] * 2,
        dilations=[dilation] * 2,
        group=groups,
    )
    relu = helper.make_node("Relu", ["y"], ["z"])
    return kernel(
        conv, relu, shape=(1, inputs, height, width), weight=weight, bias=np.zeros(outputs, "float32")
    )


def arguments(mod: Any) -> list[Any]:
    """Random arguments of a kernel, the result's included."""
    random = np.random.default_rng(0)
    shapes = [[int(extent) for extent in param.shape] for param in mod["main"].params]
    return [tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes]


def result(mod: Any, target: Any = TARGET) -> Any:
    tensors = arguments(mod)
    tvm.compile(mod, target)["main"](*tensors)
    return tensors[-1].numpy()


def assert_same_result(mod: Any, target: Any = TARGET) -> None:
    np.testing.assert_allclose(
        result(schedule_default(mod, target), target), result(mod), rtol=1e-4, atol=1e-4
    )


def scratch_bytes(scheduled: Any) -> int:
    """Memory that a kernel takes beside its arguments, after buffers are cut to what a tile needs."""
    transform = tvm.s_tir.transform
    passes = [
        transform.LowerInitBlock(),
        transform.PlanAndUpdateBufferAllocationLocation(),
        transform.ConvertBlocksToOpaque(),
        transform.CompactBufferAllocation(),
    ]
    sizes = []

    def add(block: Any) -> None:
        sizes.extend(4 * int(np.prod([int(e) for e in buffer.shape])) for buffer in block.alloc_buffers)

    func = tvm.transform.Sequential(passes)(scheduled)["main"]
    tvm_ffi.structural_walk(func.body, (tvm.s_tir.SBlock, add))
    return sum(sizes)


SIZES = [  # inputs, outputs, height, width, window, stride, dilation, groups
    (48, 288, 8, 32, 1, 1, 1, 1),
    (3, 16, 17, 2048, 3, 2, 1, 1),
    (3, 19, 9, 4, 3, 1, 1, 1),
    (960, 160, 4, 8, 1, 1, 1, 1),
    (7, 37, 5, 311, 1, 1, 1, 1),
    (16, 24, 11, 79, 1, 1, 1, 2),
    (12, 12, 23, 30, 3, 1, 2, 12),
    (6, 6, 9, 311, 5, 2, 1, 6),
    (5, 5, 16, 128, 5, 1, 2, 5),
    (960, 960, 4, 4, 3, 1, 1, 960),
    (4, 8, 7, 13, 3, 3, 1, 4),
    (40, 10, 1, 1, 1, 1, 1, 1),
    (4, 6, 30, 33, 7, 2, 1, 1),
    (2, 3, 20, 21, 9, 1, 1, 1),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_convolutions_of_all_sizes_give_the_same_result(size: tuple[int, ...]) -> None:
    *shape, stride, dilation, groups = size
    assert_same_result(convolution(*shape, stride=stride, dilation=dilation, groups=groups))


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("size", SIZES[3:8], ids=str)
def test_other_vector_lengths_give_the_same_result(size: tuple[int, ...], cpu: str) -> None:
    *shape, stride, dilation, groups = size
    target = machine(cpu)
    if not features(target) <= features(machine(tvm.target.codegen.llvm_get_system_cpu())):
        pytest.skip(f"this machine is no {cpu}")
    assert_same_result(convolution(*shape, stride=stride, dilation=dilation, groups=groups), target)


def test_a_kernel_for_another_machine_compiles() -> None:
    target = machine("cortex-a72", "aarch64-linux-gnu", cores=4)
    assert Cpu.of(target) == Cpu(lanes=4, registers=32, cores=4)
    scheduled = schedule_default(convolution(24, 40, 10, 30, 3), target)
    assert "fmla" in tvm.compile(scheduled, target).mod.inspect_source("asm")


def test_registers_and_lanes_come_from_the_target() -> None:
    assert Cpu.of(machine("x86-64")) == Cpu(lanes=4, registers=16, cores=2)
    assert Cpu.of(machine("x86-64-v3", cores=8)) == Cpu(lanes=8, registers=16, cores=8)
    assert Cpu.of(machine("sapphirerapids")) == Cpu(lanes=16, registers=32, cores=2)


@pytest.mark.parametrize("size", [s for s in SIZES if s[4] <= 7], ids=str)
def test_convolutions_work_in_tiles(size: tuple[int, ...]) -> None:
    *shape, stride, dilation, groups = size
    scheduled = schedule_default(convolution(*shape, stride=stride, dilation=dilation, groups=groups), TARGET)
    assert {"conv_update", "out"} <= {b.split('"')[0] for b in str(scheduled).split('T.sblock("')}
    assert scratch_bytes(scheduled) <= 2**18


def test_a_large_feature_map_needs_no_large_scratch() -> None:
    mod = convolution(96, 96, 512, 1024, 3, groups=96)
    padded_input = 4 * 96 * 514 * 1026
    assert scratch_bytes(mod) > padded_input
    assert scratch_bytes(schedule_default(mod, TARGET)) < padded_input / 100


def pooled(kind: str, height: int, width: int, **attributes: Any) -> Any:
    return kernel(helper.make_node(kind, ["x"], ["z"], **attributes), shape=(1, 6, height, width))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("GlobalAveragePool", {}),
        ("AveragePool", {"kernel_shape": [5, 7], "strides": [2, 3]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("Softmax", {"axis": 1}),
        ("Softmax", {"axis": -1}),
        ("ReduceMax", {}),
        ("Flatten", {}),
        ("Transpose", {"perm": [0, 2, 3, 1]}),
        ("Sigmoid", {}),
    ],
)
@pytest.mark.parametrize("size", [(9, 23), (8, 32), (7, 7)], ids=str)
def test_other_kernels_give_the_same_result(
    kind: str, attributes: dict[str, Any], size: tuple[int, int]
) -> None:
    mod = pooled(kind, *size, **attributes)
    assert "tirx.is_scheduled" in schedule_default(mod, TARGET)["main"].attrs
    assert_same_result(mod)


def resize(before: tuple[int, int], after: tuple[int, int], mode: str, *, gated: bool) -> Any:
    attributes = {"mode": "linear", "coordinate_transformation_mode": mode}
    sizes = np.array([1, 5, *after], "int64")
    nodes = [helper.make_node("Resize", ["x", "", "", "sizes"], ["y" if gated else "z"], **attributes)]
    if gated:
        nodes.append(helper.make_node("Mul", ["y", "gate"], ["z"]))
    gate = np.ones((1, 5, *after), "float32")
    weights = {"sizes": sizes, "gate": gate} if gated else {"sizes": sizes}
    return kernel(*nodes, shape=(1, 5, *before), **weights)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("mode", ["align_corners", "half_pixel"])
@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        (((9, 13), (33, 50)), "along"),
        (((1, 4), (8, 32)), "along"),
        (((4, 8), (8, 64)), "along"),
        (((2, 3), (5, 5)), "between"),  # rows too short for vectors
        (((7, 8), (3, 8)), "between"),
        (((16, 64), (8, 32)), "between"),
        (((11, 15), (5, 7)), "between"),
    ],
    ids=str,
)
def test_resizing_goes_in_two_steps(sizes: tuple[Any, Any], first: str, mode: str, gated: bool) -> None:
    mod = resize(*sizes, mode, gated=gated)
    assert f'T.sblock("{first}")' in str(schedule_default(mod, TARGET))
    assert_same_result(mod)


def test_rows_are_cut_where_channels_are_too_few_for_the_cores() -> None:
    mod, many = resize((8, 32), (32, 128), "align_corners", gated=False), machine("x86-64", cores=8)
    tasks = [
        re.findall(r"T\.parallel\(T\.int64\((\d+)", str(schedule_default(mod, t))) for t in (TARGET, many)
    ]
    assert tasks == [["10"], ["40"]]
    assert_same_result(mod, many)


def test_making_rows_far_shorter_goes_in_one_step() -> None:
    mod = resize((8, 96), (4, 16), "half_pixel", gated=False)
    assert 'T.sblock("between")' not in str(schedule_default(mod, TARGET))
    assert_same_result(mod)


def test_rows_run_in_parallel() -> None:
    scheduled = schedule_default(pooled("MaxPool", 40, 40, kernel_shape=[3, 3]), TARGET)
    assert "T.parallel" in str(scheduled)


@pytest.mark.parametrize("shape", [(37,), ()], ids=str)
def test_one_dimension_and_no_dimension(shape: tuple[int, ...]) -> None:
    x = te.placeholder(shape, name="x")
    func = te.create_prim_func([x, te.compute(shape, lambda *i: x(*i) + 1.0)])
    assert_same_result(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}))


def test_a_kernel_that_no_rule_fits_is_left_as_it_is() -> None:
    x = te.placeholder((8, 16), name="x")
    scan = te.extern(
        [(8, 16)],
        [x],
        lambda ins, outs: tvm.tirx.call_packed("tvm.contrib.sort.sort", ins[0], outs[0]),
    )
    mod = tvm.IRModule({"main": te.create_prim_func([x, scan]).with_attr("global_symbol", "main")})
    assert structural_hash(schedule_default(mod, TARGET)) == structural_hash(mod)


def test_other_kinds_of_device_are_left_as_they_are() -> None:
    mod = convolution(4, 4, 8, 8)
    assert schedule_default(mod, tvm.target.Target("opencl")) is mod


def test_the_same_kernel_gets_the_same_schedule() -> None:
    first, second = (schedule_default(convolution(8, 12, 9, 20, 3), TARGET) for _ in range(2))
    assert structural_hash(first) == structural_hash(second)


def seconds(function: Any, tensors: list[Any]) -> float:
    time.sleep(0.02)  # on a busy machine who has slept is let in at once
    start = time.perf_counter()
    function(*tensors)
    return time.perf_counter() - start


@pytest.mark.parametrize(
    "mod_of",
    [
        lambda: convolution(48, 96, 16, 64),
        lambda: convolution(24, 24, 32, 64, 3),
        lambda: convolution(24, 24, 31, 61, 3),
    ],
    ids=["1x1", "3x3", "ragged"],
)
def test_several_times_faster_than_no_schedule(mod_of: Any) -> None:
    mod = mod_of()
    target = tvm.target.Target(
        {"kind": "llvm", "num-cores": 1, "mcpu": tvm.target.codegen.llvm_get_system_cpu()}
    )
    slow, fast = (tvm.compile(m, target)["main"] for m in (mod, schedule_default(mod, target)))
    tensors = arguments(mod)
    slow_s, fast_s = list[float](), list[float]()
    while len(fast_s) < 7 or (min(slow_s) < 3 * min(fast_s) and len(fast_s) < 200):
        slow_s.append(seconds(slow, tensors))
        fast_s.append(seconds(fast, tensors))
    assert min(slow_s) / min(fast_s) > 3
