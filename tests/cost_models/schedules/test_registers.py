"""Schedules by which a GPU's threads would read what other threads keep for themselves."""

from functools import partial
from typing import Any

import pytest

from cost_models.builder.pool import BuildPool
from cost_models.errors import LoweringError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import compile_lowered, kernels, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.schedules import default, registers
from cost_models.schedules.default import schedule_default
from cost_models.schedules.registers import require_own_registers
from cost_models.schedules.sblocks import require_threads, scheduled_module
from cost_models.tuning.kernel_search import KernelSearch
from cost_models.tuning.settings import SearchSettings
from cost_models.tvm_import import tvm
from targets import load_target

from ..some_kernels import argmax, convolution, depthwise, frame, relu, residual

XAVIER = load_target("jetson-xavier").tvm_target()
GROUPED = convolution(40, 40, 4, 8, groups=2)
KERNELS = [
    GROUPED,
    convolution(16, 32, 16, 32),
    convolution(3, 16, 17, 31, 3, stride=2),
    depthwise(16, 16, 32),
    residual(8, 3, 5, 8, 16)[-1],
    argmax(16, 32),
    relu(8, 8, 8),
    frame(8, 16),
]

BEGIN = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((8, 32), "float32"), at: T.Buffer((8,), "int32"), C: T.Buffer((8, 32), "float32")):
        B = T.sblock_alloc_buffer((8, 32), scope="SCOPE")
        for i in T.thread_binding(8, thread="blockIdx.x"):
"""
WRITE = """
            for j in T.thread_binding(32, thread="threadIdx.x"):
                with T.sblock("write"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    B[vi, vj] = A[vi, vj]
"""
READ = """
            for j in T.thread_binding(32, thread="threadIdx.x"):
                with T.sblock("read"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    PREDICATE
                    x: T.let = vj * 2
                    C[vi, vj] = VALUE
"""
SUM = """
            for k in T.thread_binding(32, thread="threadIdx.x"):
                with T.sblock("sum"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    with T.init():
                        B[vi, 0] = T.float32(0)
                    B[vi, 0] = B[vi, 0] + A[vi, vk]
"""
ZERO = """
            for j in T.thread_binding(32, thread="threadIdx.x"):
                with T.sblock("zero"):
                    vi = T.axis.spatial(8, i)
                    vj = T.axis.spatial(32, ZEROED)
                    B[vi, vj] = T.float32(0)
            for j in T.thread_binding(32, thread="threadIdx.x"):
                for k in range(4):
                    with T.sblock("add"):
                        vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                        B[vi, vj] = B[vi, vj] + A[vi, vk]
"""


def schedule(*parts: str, value: str = "B[vi, vj]", scope: str = "local", predicate: str = "") -> Any:
    """A schedule as text; its last part reads ``value`` where the predicate holds."""
    text = "".join((BEGIN, *parts)).replace("SCOPE", scope).replace("VALUE", value)
    text = text.replace("PREDICATE", f"T.where({predicate})" if predicate else "")
    return tvm.script.from_source(text)


def check(mod: Any) -> str:
    """What is said of it, without the kernel's name."""
    try:
        require_own_registers(mod, XAVIER, "kernel")
    except LoweringError as error:
        return str(error).removeprefix("kernel: no right schedule for a GPU: it ")
    return ""


NOT_WRITTEN = "which that thread has not written; scope {} is each thread's own"


@pytest.mark.parametrize("scope", ["local", "warp"])
def test_what_another_thread_wrote(scope: str) -> None:
    said = check(schedule(WRITE, READ, value="B[vi, (vj + 1) % 32]", scope=scope))
    assert said == f"reads B[0, 1] by threadIdx.x 0 in read, {NOT_WRITTEN.format(scope)}"
    assert check(schedule(WRITE, READ, scope=scope)) == ""


def test_what_is_shared_may_be_read_by_all() -> None:
    assert check(schedule(WRITE, READ, value="B[vi, 31 - vj]", scope="shared")) == ""


def test_only_kernels_for_gpus_are_looked_at() -> None:
    wrong = schedule(WRITE, READ, value="B[vi, 31 - vj]")
    require_own_registers(wrong, tvm.target.Target("llvm"), "kernel")


@pytest.mark.parametrize(
    ("value", "predicate", "right"),
    [
        ("B[vi, 31 - vj]", "j == 0", False),
        ("B[vi, vj // 31 * 31]", "j == 31", True),
        ("B[vi, vj // 31 * 31]", "j >= 30", False),
        ("T.if_then_else(vj < 16, B[vi, vj % 16], T.float32(0))", "", True),
        ("T.if_then_else(vj < 17, B[vi, vj % 16], T.float32(0))", "", False),
        ("T.Select(vj < 16, T.float32(0), B[vi, T.max(vj, 16)])", "", True),
        ("B[vi, x // 2]", "", True),
        ("B[vi, x // 3]", "", False),
    ],
)
def test_only_what_happens_counts(value: str, predicate: str, *, right: bool) -> None:
    assert (check(schedule(WRITE, READ, value=value, predicate=predicate)) == "") == right


def test_a_sum_over_threads_is_known_to_all_of_them() -> None:
    """TVM hands the sum to each of them where its buffer is their own."""
    assert check(schedule(SUM, READ, value="B[vi, 0]")) == ""
    assert check(schedule(SUM, READ, value="B[vi, vj]")).startswith("reads B[0, 1] by threadIdx.x 1 in read")


def test_a_sum_needs_its_first_value_from_the_same_thread() -> None:
    assert check(schedule(ZERO.replace("ZEROED", "j"), READ)) == ""
    said = check(schedule(ZERO.replace("ZEROED", "31 - j"), READ))
    assert said.startswith("reads B[0, 0] by threadIdx.x 0 in add, ")


def test_other_turns_of_the_loops_around_have_registers_of_their_own() -> None:
    said = check(schedule(WRITE, READ, value="B[(vi + 1) % 8, vj]"))
    assert said.startswith("reads B[1, 0] by threadIdx.x 0 in read, ")


def test_another_launch_has_registers_of_its_own() -> None:
    second = "\n        for i in T.thread_binding(8, thread='blockIdx.x'):"
    said = check(schedule(WRITE, second, READ))
    assert said == "reads B, of scope local, in another launch than the one that wrote it"


def test_indices_that_are_loaded_may_be_all_that_their_expression_allows() -> None:
    value = "B[vi, at[vj % 8] % 16]"
    assert check(schedule(WRITE, READ, value=value)).startswith("reads B[0, 1] by threadIdx.x 0")
    sixteen, fifteen = (schedule(by_every_thread(n), READ, value=value) for n in (16, 15))
    assert check(sixteen) == ""
    assert check(fifteen).startswith("reads B[0, 15] by threadIdx.x 0")
    elsewhere = by_every_thread(16).replace("B[vi, vj] =", "B[vi, at[vj % 8]] =")
    assert check(schedule(elsewhere, READ, value=value)).startswith("reads B[0, 0] by threadIdx.x 0")


def by_every_thread(count: int) -> str:
    """``WRITE``, but that each thread writes the first elements of its block, and not its own."""
    return WRITE.replace('j in T.thread_binding(32, thread="threadIdx.x")', f"j in range({count})")


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = schedule(WRITE, READ, value="B[vi, 31 - vj]")
    monkeypatch.setattr(registers, "_MOST_VALUES", 4)  # some threads stand for all
    assert check(wrong).startswith("reads B[0, 31] by threadIdx.x 0")
    said = check(schedule(by_every_thread(32), READ))
    assert said.endswith("wrote: what happens in 32 iterations of one thread is not known")


# --- what DLight and MetaSchedule make


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.label)
def test_default_and_searched_schedules_are_right(kernel: Kernel) -> None:
    mod = kernel_module(kernel, XAVIER)
    scheduled = schedule_default(mod, XAVIER)
    require_threads(scheduled, XAVIER, "kernel")
    assert check(scheduled) == ""
    search = KernelSearch(mod, XAVIER, SearchSettings(round_size=2, population=4, generations=1))
    for proposal in search.propose(2):
        assert check(proposal.mod) == ""


def faulty(kernel: Kernel = GROUPED) -> Any:
    """What DLight makes of a grouped convolution of a small map by its own order of rules."""
    gpu = tvm.s_tir.dlight.gpu
    rules = (gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())
    with XAVIER:
        made = tvm.s_tir.dlight.ApplyDefaultSchedule(*rules)(
            tvm.IRModule(dict(kernel_module(kernel, XAVIER).functions_items()))
        )
    return scheduled_module(made["main"])


def test_dlight_is_wrong_for_grouped_convolutions_of_small_maps() -> None:
    said = check(faulty())
    assert said.startswith(
        "reads group_conv2d_nchw_intermediate_local[0, 0, 0, 1] by threadIdx.x 0, threadIdx.y 0"
    )
    assert said.endswith(f" in compute, {NOT_WRITTEN.format('local')}")


def test_such_a_schedule_is_not_built() -> None:
    lowered = lower(to_onnx(GROUPED.graph, GROUPED.input_shapes, name="kernel"), XAVIER)
    ((name, kernel),) = kernels(lowered).items()
    with pytest.raises(LoweringError, match=f"^{name}: no right schedule for a GPU: it reads group_conv2d"):
        compile_lowered(lowered, XAVIER, {kernel.hash: faulty()})
    with BuildPool(workers=1) as pool:
        (result,) = pool.build([faulty()], XAVIER)
    assert result.path is None
    assert result.error is not None
    assert result.error.startswith(
        "LoweringError: kernel: no right schedule for a GPU: it reads group_conv2d"
    )


def test_a_kernel_without_a_right_schedule_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = tvm.s_tir.dlight.gpu
    monkeypatch.setattr(default, "_gpu_rules", lambda: {"one": partial(default._dlight, gpu.Reduction())})
    assert check(schedule_default(kernel_module(GROUPED, XAVIER), XAVIER)).startswith("reads group_conv2d")
