"""Kernels on a real GPU: right with every schedule, and timed."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from cost_models.builder.pool import BuildPool
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Add, Conv2d
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

pytestmark = pytest.mark.gpu
WITHIN = {"float32": 1e-4, "float16": 1e-2}  # of the largest value
QUICK = SearchSettings(round_size=4, population=16, generations=1)


def block() -> list[Kernel]:
    """Stem, expand, depthwise, project and add."""
    net = GraphBuilder()
    x = net.add("a", Activation("relu"), net.conv_bn("stem", Conv2d(3, 16, 3, 2, 1), "x"))
    y = net.add("b", Activation("relu"), net.conv_bn("expand", Conv2d(16, 48), x))
    y = net.add("c", Activation("relu"), net.conv_bn("depthwise", Conv2d(48, 48, 5, 1, 2, 1, 48), y))
    graph = net.build(net.add("sum", Add(), net.conv_bn("project", Conv2d(48, 16), y), x))
    return split_into_kernels(graph, {"x": (1, 3, 64, 96)})


def inputs_of(model: onnx.ModelProto, kernel: Kernel, dtype: str) -> dict[str, Any]:
    random = np.random.default_rng(0)
    names = [value.name for value in model.graph.input]
    return {name: random.standard_normal(kernel.input_shapes[name]).astype(dtype) for name in names}


def on_gpu(executable: Any, arrays: Iterable[Any]) -> Any:
    device = tvm.cuda(0)
    machine = relax.VirtualMachine(executable, device)
    return machine["main"](*(tvm.runtime.tensor(array, device) for array in arrays)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kernel", block(), ids=lambda kernel: kernel.label)
def test_every_schedule_agrees_with_onnxruntime(gpu: Target, kernel: Kernel, dtype: str) -> None:
    target = gpu.tvm_target()
    model = to_onnx(kernel.graph, kernel.input_shapes, name="kernel", dtype=dtype)
    arrays = inputs_of(model, kernel, dtype)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, arrays)[0].astype("float64")
    lowered = lower(model, target)
    (found,) = kernels(lowered).values()
    proposals = KernelSearch(found.mod, target, QUICK).propose(4)
    assert proposals
    for tuned in ({}, *({found.hash: proposal.mod} for proposal in proposals)):
        result = on_gpu(compile_lowered(lowered, target, tuned).executable, arrays.values())
        assert result.dtype == dtype
        np.testing.assert_allclose(result, expected, rtol=0, atol=WITHIN[dtype] * np.abs(expected).max())


def test_kernels_are_timed(gpu: Target) -> None:
    target, kernel = gpu.tvm_target(), block()[1]
    mod = kernel_module(kernel, target)
    proposals = KernelSearch(mod, target, QUICK).propose(4)
    with BuildPool.of(find_tools(gpu)) as pool, open_session(gpu) as session:
        assert 0 < Reference.build(pool, target).probe(session) < 0.1
        for built in pool.build([proposal.mod for proposal in proposals], target):
            assert built.error is None
            assert built.path is not None
            timed = run_kernel(session, built.path, arguments_of(mod), RunSettings())
            assert timed.error is None
            assert len(timed.samples_s) == RunSettings().repeat
            assert all(0 < seconds < 0.1 for seconds in timed.samples_s)
