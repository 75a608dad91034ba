"""Schedules for GPUs give the right numbers, and make no forbidden access: run on the emulated GPU."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import kernels, lower
from cost_models.runner.emulated_check import KernelRun, check_kernels
from cost_models.schedules.default import schedule_default
from cost_models.schedules.gpu import Gpu
from cost_models.schedules.gpu_model import all_tiles
from cost_models.schedules.gpu_rules import find_gpu_conv, schedule_tile
from cost_models.schedules.sblocks import scheduled_module
from cost_models.tvm_import import tvm
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import SPACES
from targets import load_target

from ..operator_cases import CASES, whole_model
from ..some_kernels import argmax, convolution, depthwise, frame, labels, residual

XAVIER = load_target("jetson-xavier").tvm_target()
HOST = tvm.target.Target({"kind": "llvm", "num-cores": 1})
WITHIN = {"float32": 1e-5, "float16": 2e-3}  # of the largest value

GROUPED = convolution(40, 40, 4, 8, groups=2)  # of which DLight makes noise
FEW = [
    (GROUPED, "float32"),
    (GROUPED, "float16"),
    (residual(20, 3, 3, 9, 12)[-1], "float16"),
    (convolution(3, 10, 17, 23, 3, stride=2), "float32"),
    (depthwise(6, 13, 17, 5, stride=2), "float32"),
    (labels(19, 5, 7, (9, 13)), "float32"),
    (labels(7, 5, 7, (11, 13), corners=True), "float16"),
]
TILED = [
    GROUPED,
    residual(12, 3, 3, 8, 12)[-1],
    convolution(10, 19, 5, 7),
    convolution(3, 12, 17, 32, 3, stride=2),
    convolution(8, 8, 8, 9, 5, dilation=2, groups=4),
    depthwise(5, 11, 16, 3),
    depthwise(5, 13, 17, 5, stride=2),
]


def arguments(mod: Any) -> list[Any]:
    """Random ones; bytes for what is a frame or classes."""
    random = np.random.default_rng(0)
    return [
        random.integers(0, 255, [int(side) for side in param.shape]).astype("uint8")
        if str(param.dtype) == "uint8"
        else random.standard_normal([int(side) for side in param.shape]).astype(str(param.dtype))
        for param in mod["main"].params
    ]


def expected(mod: Any, arrays: list[Any]) -> Any:
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.compile(mod, HOST)["main"](*tensors)
    return tensors[-1].numpy().astype("float64")


def assert_right(cases: Iterable[tuple[str, Any, Any]]) -> None:
    """Name, kernel and the same scheduled, of each case."""
    cases = list(cases)
    given = [arguments(mod) for _, mod, _ in cases]
    runs = [
        KernelRun(name, scheduled, tuple(arrays))
        for (name, _, scheduled), arrays in zip(cases, given, strict=True)
    ]
    wrong = []
    for (name, mod, _), arrays, done in zip(cases, given, check_kernels(runs, "sm_72"), strict=True):
        wanted = expected(mod, arrays)
        dtype = str(mod["main"].params[0].dtype)
        off = np.abs(done.arrays[-1].astype("float64") - wanted).max() / max(np.abs(wanted).max(), 1e-9)
        wrong += [f"{name}: {fault}" for fault in done.faults]
        wrong += [f"{name}: off by {off:.1e}"] * (not off <= WITHIN.get(dtype, 1e-5))
    assert not wrong


def test_default_schedules_are_right() -> None:
    mods = {f"{kernel.label} {dtype}": kernel_module(kernel, XAVIER, dtype) for kernel, dtype in FEW}
    assert_right((name, mod, schedule_default(mod, XAVIER)) for name, mod in mods.items())


FOREIGN = [
    *(("ragged", TensorProto.FLOAT), ("softmax", TensorProto.FLOAT), ("tokens", TensorProto.FLOAT)),
    *(("batches", TensorProto.FLOAT16), ("classes", TensorProto.FLOAT16), ("pixels", TensorProto.FLOAT16)),
]


def test_default_schedules_of_others_operations_are_right() -> None:
    cases = []
    for name, dtype in FOREIGN:
        for key, kernel in kernels(lower(whole_model({name: CASES[name]}, dtype), XAVIER)).items():
            cases.append((f"{name}: {key}", kernel.mod, schedule_default(kernel.mod, XAVIER)))
    assert_right(cases)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_default_schedules_of_every_class_are_right(dtype: str) -> None:
    classes = {
        kernel.label.partition(" ")[0]: kernel
        for space in SPACES.values()
        for kernel in space_kernels(space, Resolution(67, 101), segmentation_head(19))
    }
    kernels = [*classes.values(), argmax(9, 13), labels(19, 5, 7, (9, 13)), frame(9, 13)]
    mods = [(kernel.label, kernel_module(kernel, XAVIER, dtype)) for kernel in kernels]
    assert_right((name, mod, schedule_default(mod, XAVIER)) for name, mod in mods)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kernel", TILED, ids=lambda kernel: kernel.label)
def test_tiles_are_right(kernel: Kernel, dtype: str) -> None:
    mod = kernel_module(kernel, XAVIER, dtype)
    conv = find_gpu_conv(mod)
    tiles = [tile for tile, _ in all_tiles(conv, Gpu.of(XAVIER))]
    chosen = tiles[:: math.ceil(len(tiles) / 8)]
    assert_right((str(tile), mod, scheduled_module(schedule_tile(conv, tile))) for tile in chosen)
