"""Default schedules for GPUs: ours for every kernel of the spaces, within the limits of any GPU."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.default import schedule_default
from cost_models.schedules.gpu import Gpu
from cost_models.schedules.gpu_rules import GPU_RULES
from cost_models.schedules.registers import require_own_registers
from cost_models.schedules.sblocks import require_threads, scheduled_module
from cost_models.tvm_import import tvm, tvm_ffi
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import SPACES
from targets import load_target

from ..some_kernels import argmax, convolution, depthwise, relu

XAVIER = load_target("jetson-xavier").tvm_target()
H100 = tvm.target.Target({"kind": "cuda", "arch": "sm_90"})


def kernels_of_spaces(height: int, width: int) -> Iterator[Kernel]:
    for space in SPACES.values():
        yield from space_kernels(space, Resolution(height, width), segmentation_head(19))


CLASSES = {  # maps of 36x52 to 5x7: some are whole vectors, others not
    kernel.label.partition(" ")[0]: kernel for kernel in kernels_of_spaces(72, 104)
}


def rule_for(kernel: Kernel, target: Any, dtype: str = "float32") -> str | None:
    """The rule of ours that takes a kernel, with a schedule that every thread's registers allow."""
    mod = kernel_module(kernel, target, dtype)
    for name, rule in GPU_RULES.items():
        try:
            scheduled = scheduled_module(rule(mod, target))
        except Exception:  # TVM raises many types
            continue
        require_own_registers(scheduled, target, name)
        require_threads(scheduled, target, name)
        return name
    return None


def expected_rule(kernel: Kernel) -> str:
    if kernel.kind == "memory":
        return "rows"
    pixel = kernel.input_shapes["x0"][2:] == (1, 1)
    return "gate" if pixel and kernel.label.startswith(("conv1x1", "dw1x1")) else "tiles"


def test_the_spaces_have_these_classes_of_kernels() -> None:
    windows = {name for name in CLASSES if name.startswith(("conv", "dw"))}
    assert {"conv1x1", "conv1x1g2+add", "conv3x3s2+relu", "dw3x3d2+relu", "dw5x5s2+relu"} <= windows
    assert {"normalize", "resize.corners+argmax+tobyte", "globalavgpool", "resize.corners", "concat"} <= set(
        CLASSES
    ) - windows


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_kernels_has_a_schedule_of_ours(name: str) -> None:
    assert rule_for(CLASSES[name], XAVIER) == expected_rule(CLASSES[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "dtype"), [((67, 65), "float16"), ((360, 480), "float32"), ((512, 1024), "float32")], ids=str
)
def test_every_kernel_of_every_space_has_a_schedule_of_ours(size: tuple[int, int], dtype: str) -> None:
    found = {kernel: rule_for(kernel, XAVIER, dtype) for kernel in set(kernels_of_spaces(*size))}
    wrong = [f"{k.label}: {name}" for k, name in found.items() if name != expected_rule(k)]
    assert not wrong


SMALL = [convolution(20, 20, 4, 8, groups=2), convolution(3, 8, 16, 32, 3, stride=2), depthwise(8, 16, 32, 5)]
OTHERS = [argmax(16, 32), relu(8, 16, 32), CLASSES["globalavgpool"], CLASSES["conv1x1+hsigmoid+mul"]]


def extents(mod: Any, axis: str) -> int:
    """Of all loops that are bound to an axis; each of its loops must have the same."""
    found: dict[str, set[int]] = {}

    def note(loop: Any) -> None:
        if loop.thread_binding is not None:
            found.setdefault(str(loop.thread_binding.thread_tag), set()).add(int(loop.extent))

    tvm_ffi.structural_walk(mod["main"].body, (tvm.tirx.For, note))
    return math.prod(extent for tag, (extent,) in found.items() if tag.startswith(axis))


@pytest.mark.parametrize("kernel", SMALL + OTHERS, ids=lambda kernel: kernel.label)
def test_a_gpu_that_allows_little_is_not_asked_for_more(kernel: Kernel) -> None:
    small = {"max_threads_per_block": 64, "max_shared_memory_per_block": 4096}
    target = tvm.target.Target({"kind": "cuda", "arch": "sm_72", **small})
    assert rule_for(kernel, target) == expected_rule(kernel)
    assert 32 <= extents(schedule_default(kernel_module(kernel, target), target), "threadIdx") <= 64


@pytest.mark.parametrize("kernel", SMALL, ids=lambda kernel: kernel.label)
def test_the_same_kernel_gets_the_same_schedule(kernel: Kernel) -> None:
    first, second = (schedule_default(kernel_module(kernel, H100), H100) for _ in range(2))
    tvm.ir.assert_structural_equal(first, second)


def test_large_maps_fill_the_multiprocessors_twice() -> None:
    for kernel in (convolution(16, 96, 64, 128), depthwise(96, 64, 128), relu(96, 64, 128)):
        for target in (XAVIER, H100):
            scheduled = schedule_default(kernel_module(kernel, target), target)
            assert extents(scheduled, "blockIdx") >= 2 * Gpu.of(target).multiprocessors


def test_a_kernel_of_several_sums_is_left_to_others() -> None:
    te, topi = tvm.te, tvm.topi
    x = te.placeholder((4, 32), name="x")
    mod = tvm.IRModule({"main": te.create_prim_func([x, topi.nn.softmax(x)])})
    with pytest.raises(ValueError, match="more than one sum"):
        GPU_RULES["rows"](mod, XAVIER)
    require_threads(schedule_default(mod, XAVIER), XAVIER, "softmax")
