"""Kernels of every class on a GPU: right with every schedule, and timed."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from cost_models.builder.pool import BuildPool
from cost_models.errors import LoweringError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import compile_lowered, kernels, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.runner.reference import Reference
from cost_models.runner.runner import RunSettings, arguments_of, run_kernel
from cost_models.tuning.kernel_search import KernelSearch
from cost_models.tuning.settings import SearchSettings
from cost_models.tvm_import import relax, tvm
from targets import Target, open_session
from targets.toolchain.tools import find_tools

from .classes import classes

pytestmark = pytest.mark.gpu
WITHIN = {"float32": 1e-4, "float16": 1e-2}  # of the largest value
CLASSES = classes()
QUICK = SearchSettings(round_size=4, population=16, generations=1)
FEW = ("conv1x1+add", "conv1x1g2+relu-odd", "dw3x3s2+relu", "dw5x5+relu-odd")  # that are searched always
Sound = Callable[[], AbstractContextManager[None]]


def in_type(name: str, dtype: str) -> Any:
    """A class in a type; odd sides in float16 are left to long runs."""
    later = name.endswith("-odd") and dtype == "float16"
    return pytest.param(name, dtype, marks=[pytest.mark.slow] if later else [])


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow)


def inputs_of(model: onnx.ModelProto, kernel: Kernel, dtype: str) -> dict[str, Any]:
    random = np.random.default_rng(0)
    names = [value.name for value in model.graph.input]
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    return {
        name: random.integers(0, 256, kernel.input_shapes[name]).astype("uint8")
        if kinds[name] == onnx.TensorProto.UINT8
        else random.standard_normal(kernel.input_shapes[name]).astype(dtype)
        for name in names
    }


def on_gpu(executable: Any, arrays: Iterable[Any]) -> Any:
    device = tvm.cuda(0)
    machine = relax.VirtualMachine(executable, device)
    return machine["main"](*(tvm.runtime.tensor(array, device) for array in arrays)).numpy()


def check(target: Any, lowered: Any, tuned: dict[str, Any], arrays: dict[str, Any], expected: Any) -> None:
    result = on_gpu(compile_lowered(lowered, target, tuned).executable, arrays.values())
    assert result.dtype == expected.dtype
    if expected.dtype.kind == "u":  # classes: near a tie a rounding decides
        assert (result == expected).mean() > 0.99
        return
    wanted = expected.astype("float64")
    within = WITHIN[str(expected.dtype)] * np.abs(wanted).max()
    np.testing.assert_allclose(result, wanted, rtol=0, atol=within)


@pytest.mark.parametrize(("name", "dtype"), [in_type(name, dtype) for name in CLASSES for dtype in WITHIN])
def test_default_schedules(gpu: Target, sound: Sound, name: str, dtype: str) -> None:
    target, kernel = gpu.tvm_target(), CLASSES[name]
    model = to_onnx(kernel.graph, kernel.input_shapes, name="kernel", dtype=dtype)
    arrays = inputs_of(model, kernel, dtype)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, arrays)[0]
    with sound():
        check(target, lower(model, target), {}, arrays, expected)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", [name if name in FEW else slow(name) for name in CLASSES])
def test_searched_schedules(gpu: Target, sound: Sound, name: str, dtype: str) -> None:
    target, kernel = gpu.tvm_target(), CLASSES[name]
    model = to_onnx(kernel.graph, kernel.input_shapes, name="kernel", dtype=dtype)
    arrays = inputs_of(model, kernel, dtype)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, arrays)[0]
    lowered = lower(model, target)
    (found,) = kernels(lowered).values()
    for proposal in KernelSearch(found.mod, target, QUICK).propose(1 if gpu.emulated else 4):
        try:
            with sound():
                check(target, lowered, {found.hash: proposal.mod}, arrays, expected)
        except LoweringError:  # TVM writes vectors of 8 whole numbers, which CUDA does not have
            assert dtype == "float16"


def test_kernels_are_timed(gpu: Target) -> None:
    target = gpu.tvm_target()
    mod = kernel_module(CLASSES["conv1x1"], target)
    proposals = KernelSearch(mod, target, QUICK).propose(2)
    slowest_s = 60.0 if gpu.emulated else 0.1
    with BuildPool.of(find_tools(gpu)) as pool, open_session(gpu) as session:
        assert 0 < Reference.build(pool, target).probe(session) < slowest_s
        for built in pool.build([proposal.mod for proposal in proposals], target):
            assert built.error is None
            assert built.path is not None
            timed = run_kernel(session, built.path, arguments_of(mod), RunSettings())
            assert timed.error is None
            assert len(timed.samples_s) == RunSettings().repeat
            assert all(0 < seconds < slowest_s for seconds in timed.samples_s)
