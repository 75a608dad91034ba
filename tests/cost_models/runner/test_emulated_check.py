"""Scheduled kernels checked on the emulated GPU: sound ones, wrong ones, and those that do not end."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cost_models.lowering.best_schedules import kernel_module
from cost_models.runner.emulated_check import CheckedRun, KernelRun, blank_arrays, check_kernels
from cost_models.runner.runner import arguments_of
from cost_models.schedules.default import schedule_default
from cost_models.tvm_import import tvm
from targets import MissingTool, load_target
from targets.emulated_cuda.gpus import nearest_gpu
from targets.emulated_cuda.libraries import host_compiler

from ..some_kernels import convolution, relu


def scheduled(kernel: Any) -> Any:
    target = load_target("emulated-cuda").tvm_target()
    return schedule_default(kernel_module(kernel, target), target)


def reduced(kernel: Any) -> Any:
    """A kernel as DLight's rule for reductions schedules it."""
    target, dlight = load_target("emulated-cuda").tvm_target(), tvm.s_tir.dlight
    with target:
        return dlight.ApplyDefaultSchedule(dlight.gpu.Reduction())(kernel_module(kernel, target))


def wide(threads: int) -> Any:
    """A kernel with blocks of so many threads."""
    mod = kernel_module(relu(4, 32, 32), load_target("emulated-cuda").tvm_target())
    sch = tvm.s_tir.Schedule(mod)
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    blocks, lanes = sch.split(sch.fuse(*sch.get_loops(block)), [None, threads])
    sch.bind(blocks, "blockIdx.x")
    sch.bind(lanes, "threadIdx.x")
    return sch.mod


@pytest.fixture(scope="module")
def checked() -> dict[str, CheckedRun]:
    try:
        host_compiler()
    except MissingTool as missing:
        pytest.skip(str(missing))
    modules = {
        "sound": scheduled(relu(3, 5, 7)),
        "wide": wide(2048),
        "pointwise": scheduled(convolution(8, 8, 4, 8)),
    }
    modules["grouped"] = reduced(convolution(40, 40, 4, 8, groups=2))
    runs = [KernelRun(name, mod, blank_arrays(arguments_of(mod))) for name, mod in modules.items()]
    return dict(zip(modules, check_kernels(runs, "sm_72"), strict=True))


def test_a_sound_kernel_gives_its_result_and_what_it_moved(checked: dict[str, CheckedRun]) -> None:
    sound = checked["sound"]
    assert sound.faults == []
    x, y = sound.arrays
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert sound.counts is not None
    (counts,) = sound.counts.values()
    assert counts.load_bytes == counts.store_bytes == 4 * 3 * 5 * 7
    assert "__global__" in sound.source


def test_a_schedule_that_reads_other_threads_registers(checked: dict[str, CheckedRun]) -> None:
    """DLight's for a grouped convolution on a small map."""
    (finding,) = checked["grouped"].findings
    assert finding.kind == "unwritten"
    assert "of register array group_conv2d_nchw_intermediate_local_ptr" in finding.text
    assert (
        "group_conv2d_nchw_intermediate_local_ptr["
        in checked["grouped"].source.splitlines()[finding.line - 1]
    )
    assert checked["pointwise"].faults == []


def test_more_threads_than_the_gpu_has(checked: dict[str, CheckedRun]) -> None:
    (fault,) = checked["wide"].faults
    assert fault.startswith("kernel wide: ")
    assert "2048" in fault
    assert checked["pointwise"].error is None  # the next one


def test_a_kernel_that_does_not_end_costs_itself_alone() -> None:
    mod = scheduled(relu(3, 5, 7))
    run = KernelRun("slow", mod, blank_arrays(arguments_of(mod)))
    late = check_kernels([run, run], "sm_72", timeout_s=0.0)
    assert next(late).error is None  # a new process gets time to load TVM
    assert next(late).error == "kernel slow: did not end within 0 s on the emulated GPU"


def test_arrays_of_another_shape_are_an_error() -> None:
    mod = scheduled(relu(3, 5, 7))
    run = KernelRun("relu", mod, blank_arrays(arguments_of(mod)))
    (done,) = check_kernels([replace(run, arrays=run.arrays[:1])], "sm_72")
    assert done.error is not None
    assert done.error.startswith("kernel relu: ")


def test_other_gpus_are_emulated_by_the_nearest_older_one() -> None:
    assert [nearest_gpu(arch) for arch in ("sm_53", "sm_72", "sm_75", "sm_87", "sm_90a", "sm_120")] == [
        *("sm_72", "sm_72", "sm_72", "sm_87", "sm_90", "sm_90")
    ]
