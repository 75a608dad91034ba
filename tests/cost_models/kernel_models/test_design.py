"""The order in which kernels are worth measuring."""

import random

from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.design import Design
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space

from ..some_kernels import convolution, depthwise, relu

GPU = {"device": "board", "dtype": "float32", "tvm_target": '{"kind":"cuda","arch":"sm_72"}'}
KERNELS = [
    *(convolution(c, c, 16, 32) for c in (8, 16, 24, 32, 48, 64, 96, 128)),
    *(depthwise(c, 16, 32, window) for c in (16, 48, 96) for window in (3, 5)),
    relu(16, 16, 32),
]


def student() -> list[Kernel]:
    space = get_space("fasterseg-student")
    return list(space_kernels(space, Resolution(256, 512), segmentation_head(19)))


def test_first_come_those_always_had_then_the_ends_of_each_sort() -> None:
    always = [convolution(24, 24, 16, 32), relu(16, 16, 32)]
    design = Design.of(KERNELS, always, GPU)
    assert sorted(kernel.key for kernel in design.order) == sorted(kernel.key for kernel in KERNELS)
    ends = {convolution(c, c, 16, 32) for c in (8, 128)}
    ends |= {depthwise(c, 16, 32, window) for c in (16, 96) for window in (3, 5)}
    assert set(design.order[:2]) == set(always)
    assert set(design.order[2 : design.least]) == ends
    largest = {convolution(128, 128, 16, 32), depthwise(96, 16, 32, 3), depthwise(96, 16, 32, 5)}
    assert set(design.order[2:5]) == largest


def test_then_comes_what_brings_the_others_nearest() -> None:
    design = Design.of([convolution(c, c, 16, 32) for c in (8, 16, 32, 64, 128, 136)], [], GPU)
    assert design.least == 2
    assert design.order[2] == convolution(32, 32, 16, 32)  # the middle of what lies between the ends
    assert Design.of([relu(16, 16, 32)], [], GPU).order == (relu(16, 16, 32),)


def test_the_order_hangs_on_the_kernels_alone() -> None:
    shuffled = random.Random(1).sample(KERNELS, len(KERNELS))
    assert Design.of(shuffled, KERNELS[3:5], GPU) == Design.of(KERNELS, reversed_pair(), GPU)


def reversed_pair() -> list[Kernel]:
    return [KERNELS[4], KERNELS[3]]


def test_every_sort_of_the_students_kernels_is_among_the_least() -> None:
    kernels = student()
    design = Design.of(kernels, [], GPU)
    sorts = {kernel.label.partition(" ")[0] for kernel in kernels}
    assert {kernel.label.partition(" ")[0] for kernel in design.order[: design.least]} == sorts
    assert design.least <= 2 * len(sorts)
    scales = {kernel.output_shape[2:] for kernel in kernels if kernel.kind == "dense"}
    assert {kernel.output_shape[2:] for kernel in design.order[:60] if kernel.kind == "dense"} == scales
