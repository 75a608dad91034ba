"""Networks of other people as TVM cuts them, beside their description."""

from typing import Any

import numpy as np
import onnx
import pytest

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.network_cut import cut_as_lowered
from cost_models.lowering.pipeline import kernels, lower, structural_hash
from cost_models.onnx_io.importer import from_onnx
from targets import load_target

from ..onnx_models import CONV, WEIGHTS, ints, model, node, random

POOL = node("MaxPool", ["c"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2])


@pytest.fixture(scope="module")
def tvm_target() -> Any:
    return load_target("local-cpu").tvm_target()


def cut(made: onnx.ModelProto, tvm_target: Any, **options: Any) -> tuple[KernelGraph, Any]:
    """What it runs, and what TVM made of it."""
    told, lowered = from_onnx(made, name="net.onnx"), lower(made, tvm_target)
    described = split_into_kernels(told.graph, told.inputs)
    return cut_as_lowered(lowered, described, tvm_target, **options), kernels(lowered)


def test_kernels_of_ours_are_ours_and_others_are_told_by_their_description(tvm_target: Any) -> None:
    row = node("Conv", ["p", "v"], ["y"], name="row", pads=[0, 1, 0, 1])
    graph, functions = cut(model([CONV, POOL, row], WEIGHTS | {"v": random(4, 8, 1, 3)}), tvm_target)
    ours, pool, uneven = graph.kernels
    assert graph.reads == ((), (0,), (1,))
    assert ours.module == ""
    assert ours.is_writable
    assert {kernel.hash for kernel in functions.values()} == {
        structural_hash(kernel_module(kernel, tvm_target)) for kernel in graph.kernels
    }
    assert pool.key.startswith("maxpool 8x16x32->8x8x16 #")
    assert (pool.kind, pool.is_foreign, pool.is_writable) == ("memory", True, False)
    assert uneven.macs == 8 * 8 * 16 * 4 * 3
    assert uneven.family == "conv1x3"
    stored = Kernel.from_description(uneven.description)
    assert (stored, stored.key, stored.module) == (uneven, uneven.key, uneven.module)
    with pytest.raises(InvalidGraph, match=r"^conv1x3 .*: only its network tells what it computes"):
        kernel_module(stored, tvm_target)


def test_equal_pieces_are_one_kernel_whatever_they_are_called(tvm_target: Any) -> None:
    nodes = [CONV, POOL, node("MaxPool", ["c"], ["q"], kernel_shape=[2, 2], strides=[2, 2])]
    twice = model([*nodes, node("Concat", ["p", "q"], ["y"], axis=1)])
    graph, _ = cut(twice, tvm_target)
    (pool,) = {kernel for kernel in graph.kernels if kernel.family == "maxpool"}
    assert graph.kernels.count(pool) == 2
    known = Kernel(pool.graph, pool.inputs, pool.module)
    named = {pool.module: Kernel.from_description({**known.description})}
    again, _ = cut(model([CONV, POOL, node("Relu", ["p"], ["y"])]), tvm_target, known=named)
    assert all(kernel.code is not None for kernel in again.kernels if kernel.module)


def test_a_piece_that_is_known_keeps_its_name(tvm_target: Any) -> None:
    made = model([CONV, POOL, node("Identity", ["p"], ["y"])])
    pool = next(kernel for kernel in cut(made, tvm_target)[0].kernels if kernel.module)
    renamed = {**pool.description, "nodes": [{**pool.description["nodes"][0], "operation": "Shrunk"}]}  # type: ignore[index]
    other = Kernel.from_description(renamed)
    graph, _ = cut(made, tvm_target, known={pool.module: other})
    found = next(kernel for kernel in graph.kernels if kernel.module)
    assert found == other
    assert found.label.startswith("shrunk ")
    assert structural_hash(found.code) == pool.module


def test_what_the_description_does_not_tell_the_module_does(tvm_target: Any) -> None:
    """Two results of one function, a sum of products over an axis, values of several inputs."""
    nodes = [
        CONV,
        node("Split", ["c", "parts"], ["a", "b"], axis=1),
        node("Transpose", ["b"], ["t"], perm=[0, 1, 3, 2]),
        node("MatMul", ["a", "t"], ["y"]),
    ]
    made = model(nodes, WEIGHTS | {"parts": ints(4, 4)})
    lowered = lower(made, tvm_target)
    graph = cut_as_lowered(lowered, [], tvm_target)  # nothing is described
    assert all(kernel.module for kernel in graph.kernels)
    assert len(graph.kernels) == sum(kernel.calls for kernel in kernels(lowered).values())
    conv, matmul = graph.kernels[0], graph.kernels[-1]
    assert conv.macs == 8 * 8 * 9 * 16 * 32
    assert conv.kind == "dense"
    assert conv.graph.num_parameters == WEIGHTS["w"].size
    assert matmul.macs == 4 * 16 * 32 * 16
    assert matmul.output_shape == (1, 4, 16, 16)
    assert graph.reads[0] == ()
    assert all(reads for reads in graph.reads[1:])


def test_comparisons_are_counted_apart_from_products(tvm_target: Any) -> None:
    lowered = lower(model([CONV, POOL, node("Identity", ["p"], ["y"])]), tvm_target)
    pool = cut_as_lowered(lowered, [], tvm_target).kernels[-1]
    assert (pool.macs, pool.steps) == (0, 8 * 8 * 16 * 4)


def test_a_network_that_runs_nothing_is_refused(tvm_target: Any) -> None:
    lowered = lower(model([node("Identity", ["x"], ["y"])], {}), tvm_target)
    with pytest.raises(InvalidGraph, match=r"^the network runs no kernel: there is nothing to tune or time"):
        cut_as_lowered(lowered, [], tvm_target)


def test_a_batch_of_two_is_another_kernel(tvm_target: Any) -> None:
    one, two = (
        cut(model([CONV, POOL, node("Identity", ["p"], ["y"])], shape=(n, 8, 16, 32)), tvm_target)[0]
        for n in (1, 2)
    )
    assert not set(one.kernels) & set(two.kernels)
    assert [kernel.macs for kernel in two.kernels] == [2 * kernel.macs for kernel in one.kernels]
    assert np.prod(two.kernels[-1].output_shape) == 2 * np.prod(one.kernels[-1].output_shape)
