"""Networks for a GPU, kernel by kernel on the emulated one: right ones, wrong ones, some blocks of many."""

import re
import shutil
from typing import Any

import pytest

from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, ArgMax, Conv2d
from cost_models.lowering.pipeline import Compiled, ScheduledKernel, kernels, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.runner.compiled_check import MOST_BLOCKS, KernelVerdict, check_compiled
from cost_models.schedules.sblocks import scheduled_module
from cost_models.tvm_import import tvm
from targets import load_target

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulated GPU needs a C++ compiler")
TARGET = load_target("emulated-cuda").tvm_target()


def lowered(dtype: str = "float32") -> Any:
    """Two convolutions, the second 40 to 40 channels in 2 groups on a map of 4x8, and the classes."""
    net = GraphBuilder()
    x = net.add("relu", Activation("relu"), net.conv_bn("first", Conv2d(8, 40, 1), "x"))
    x = net.add("relu2", Activation("relu"), net.conv_bn("grouped", Conv2d(40, 40, 1, groups=2), x))
    graph = net.build(net.add("classes", ArgMax(), x))
    return lower(to_onnx(graph, {"x": (1, 8, 4, 8)}, name="net", dtype=dtype), TARGET)


def in_rows(mod: Any) -> Any:
    """Every block of a kernel on its own: a block of 4 threads for 4 values."""
    sch = tvm.s_tir.Schedule(mod)
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        loops, kinds = sch.get_loops(block), [int(iv.iter_type) for iv in sch.get(block).iter_vars]
        outer, inner = sch.split(sch.fuse(*loops[: kinds.count(0)]), [None, 4])
        sch.bind(outer, "blockIdx.x")
        sch.bind(inner, "threadIdx.x")
    return scheduled_module(sch.mod["main"])


def compiled(low: Any, **others: Any) -> Compiled:
    """Scheduled `in_rows`, but for kernels whose names begin with a key of ``others``."""
    made = {}
    for name, kernel in kernels(low).items():
        mod = next((mod for start, mod in others.items() if name.startswith(start)), None) or in_rows(
            kernel.mod
        )
        made[name] = ScheduledKernel(mod=mod, hash=kernel.hash, calls=kernel.calls, tuned=False)
    return Compiled(executable=None, kernels=made)


def verdicts(compiled: Compiled, low: Any) -> dict[str, KernelVerdict]:
    return {verdict.name: verdict for verdict in check_compiled(compiled, low, "sm_72")}


def changed(mod: Any, old: str, new: str) -> Any:
    """A module with another text."""
    text = mod.script()
    assert old in text
    return source(text.replace(old, new))


def source(text: str) -> Any:
    return tvm.script.from_source(text)


def single(low: Any, start: str) -> Any:
    """A kernel in one launch, by a rule of DLight's that is right."""
    (mod,) = (kernel.mod for name, kernel in kernels(low).items() if name.startswith(start))
    gpu = tvm.s_tir.dlight.gpu
    with TARGET:
        func = tvm.s_tir.dlight.ApplyDefaultSchedule(gpu.Fallback())(tvm.IRModule({"main": mod["main"]}))[
            "main"
        ]
    return scheduled_module(func)


def test_right_kernels_and_wrong_ones() -> None:
    low = lowered()
    found = verdicts(compiled(low), low)
    assert {verdict.faults for verdict in found.values()} == {()}
    assert len(found) == 3
    classes = found["argmax"].loads  # a maximum of 40 values each, then a copy
    assert classes[0].bytes_asked >= 40 * 4 * 8 * 4
    plain = next(kernel.mod for name, kernel in kernels(low).items() if name.startswith("fused_conv2d_add"))
    off = changed(plain, "T.max(", "T.min(")
    wrong = verdicts(compiled(low, fused_conv2d_add=in_rows(off)), low)
    (fault,) = wrong["fused_conv2d_add_relu"].faults
    assert fault.startswith("kernel fused_conv2d_add_relu: its result differs from the CPU's by ")
    assert fault.endswith(" of the largest value, allowed: 0.0001")
    assert wrong["fused_conv2d1_add_relu"].faults == ()


def test_what_is_no_number_or_is_not_written_is_not_passed_over() -> None:
    low = lowered()
    name = "fused_conv2d_add_relu"
    text = kernels(low)[name].mod.script()
    relu = re.search(r"(?m)^( +)(\S.*\]) = T\.max\((.*), T\.float32\(0\.0\)\)$", text)
    assert relu
    space, place, value = relu.groups()
    nan = text.replace(relu[0], f"{space}{place} = T.sqrt({value}) * T.sqrt({value})")  # right above zero
    (fault,) = verdicts(compiled(low, fused_conv2d_add=in_rows(source(nan))), low)[name].faults
    assert (
        fault
        == f"kernel {name}: its result differs from the CPU's by nan of the largest value, allowed: 0.0001"
    )
    some = text.replace(relu[0], f"{space}if {value} > T.float32(0.0):\n{space}    {place} = {value}")
    (fault,) = verdicts(compiled(low, fused_conv2d_add=in_rows(source(some))), low)[name].faults
    assert re.fullmatch(rf"kernel {name}: writes \d+ of the 1280 values of its result", fault)


def test_a_schedule_by_which_threads_read_others_registers() -> None:
    """DLight's for the grouped convolution."""
    low = lowered()
    mod = next(kernel.mod for name, kernel in kernels(low).items() if name.startswith("fused_conv2d1"))
    with TARGET:
        rule = tvm.s_tir.dlight.gpu.Reduction()
        func = tvm.s_tir.dlight.ApplyDefaultSchedule(rule)(tvm.IRModule({"main": mod["main"]}))["main"]
    found = verdicts(compiled(low, fused_conv2d1=scheduled_module(func)), low)
    assert "that it has never written" in found["fused_conv2d1_add_relu"].faults[0]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_of_many_blocks_some_run_and_what_they_wrote_is_compared(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = lowered(dtype)
    made = compiled(low, fused_conv2d1=single(low, "fused_conv2d1"), argmax=single(low, "argmax"))
    monkeypatch.setattr("cost_models.runner.compiled_check.MOST_BLOCKS", 1)  # of 2: the first and the last
    assert {verdict.faults for verdict in verdicts(made, low).values()} == {()}
    assert MOST_BLOCKS > 2
