"""The largest channel of a resized map, against the kernel as TVM writes it and against onnxruntime."""

import re
from typing import Any

import numpy as np
import pytest

from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.onnx_io.exporter import to_onnx
from cost_models.schedules.default import schedule_default
from cost_models.schedules.labels_template import find_labels
from cost_models.tvm_import import tvm

from ..some_kernels import argmax, labels, relu
from ..two_runtimes import run_onnx

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
CASES = [
    labels(19, 8, 16, (64, 128), corners=True),
    labels(11, 5, 7, (40, 50)),
    labels(3, 4, 5, (9, 11)),  # fewer columns than a vector holds
    labels(2, 9, 9, (3, 4)),  # fewer rows than there were
    labels(4, 1, 1, (6, 6)),
    labels(5, 6, 6, (1, 1)),
    labels(2, 3, 3, (7, 19)),
    labels(255, 2, 3, (5, 33)),
]


def run(mod: Any, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    tensors = [
        tvm.runtime.tensor(data),
        tvm.runtime.tensor(np.empty(list(map(int, mod["main"].params[1].shape)), "uint8")),
    ]
    tvm.compile(mod, TARGET)["main"](*tensors)
    return tensors[1].numpy()


@pytest.mark.parametrize("kernel", CASES, ids=lambda kernel: kernel.label)
def test_indices_are_those_of_other_runtimes(kernel: Kernel) -> None:
    mod = kernel_module(kernel, TARGET)
    scheduled = schedule_default(mod, TARGET)
    assert {"along", "largest_update", "out"} <= blocks(scheduled)
    data = np.random.default_rng(0).standard_normal(kernel.inputs[0]).astype("float32")
    found = run(scheduled, data)
    np.testing.assert_array_equal(found, run(mod, data))
    (theirs,) = run_onnx(to_onnx(kernel.graph, kernel.input_shapes), {"x0": data})
    assert (found == theirs).mean() > 0.99  # they interpolate in another order


def test_of_one_channel_the_index_is_0() -> None:
    kernel = labels(1, 3, 3, (7, 19))
    mod = schedule_default(kernel_module(kernel, TARGET), TARGET)
    assert not run(mod, np.ones(kernel.inputs[0], "float32")).any()


def test_no_resized_map_is_made() -> None:
    kernel = CASES[0]
    sch = tvm.s_tir.Schedule(schedule_default(kernel_module(kernel, TARGET), TARGET))
    made = {tuple(map(int, buffer.shape)) for buffer in sch.get(sch.get_sblock("root")).alloc_buffers}
    assert made == {(2, 128), (1, 19, 8, 128), (1, 64, 128)}  # tables; the last is kept in registers


def test_of_equals_the_first_counts() -> None:
    kernel = labels(7, 3, 4, (12, 16))
    data = np.random.default_rng(0).standard_normal(kernel.inputs[0]).astype("float32")
    data[:, 2] = data[:, 5] = data.max() + 1
    mod = schedule_default(kernel_module(kernel, TARGET), TARGET)
    assert set(run(mod, data).flat) == {2}
    assert set(run(mod, np.full_like(data, -np.inf)).flat) == {0}


@pytest.mark.parametrize("kernel", [argmax(8, 8), relu(4, 8, 8)], ids=lambda kernel: kernel.label)
def test_other_kernels_are_refused(kernel: Kernel) -> None:
    with pytest.raises(ValueError, match="not the largest channel of a resized map"):
        find_labels(tvm.s_tir.Schedule(kernel_module(kernel, TARGET)))


def test_the_smallest_channel_is_not_the_largest() -> None:
    mod = kernel_module(labels(3, 4, 4, (8, 8)), TARGET)
    text = mod.script().replace("T.float32(-3", "T.float32(3")
    with pytest.raises(ValueError, match="not an argmax over channels"):
        find_labels(tvm.s_tir.Schedule(tvm.script.from_source(text)))


def blocks(mod: Any) -> set[str]:
    """Names of a scheduled kernel's blocks."""
    return set(re.findall(r'T\.sblock\("(\w+)"\)', mod.script()))
