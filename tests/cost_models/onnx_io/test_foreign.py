"""Work and weights of operations that ours do not say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from onnx import NodeProto
from torch.utils.flop_counter import FlopCounterMode

from cost_models.device_models.prior import Prior
from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import Conv2d, Foreign

from ..onnx_models import CONV, MAP, WEIGHTS, imported, ints, node, operations, random

PRIOR = Prior(
    target="any",
    macs_per_s={"dense": 1e11, "depthwise": 1e10, "grouped": 1e10},
    bytes_per_s=1e11,
    overhead_s=1e-6,
    channel_steps=(1, 1),
    origin="round numbers",
)


def work_by_torch(run: Any) -> int:
    """Multiply-accumulates that PyTorch counts: half of its floating-point operations."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2


def transposed(weight: tuple[int, ...], **options: Any) -> tuple[Any, Any, list[Any]]:
    """A transposed convolution of ``MAP``: PyTorch's result, PyTorch's count, and what it becomes here."""
    filters = torch.tensor(random(*weight))

    def run() -> torch.Tensor:
        return torch.nn.functional.conv_transpose2d(torch.zeros(1, 8, 16, 32), filters, None, **options)

    names = (("strides", "stride", 1), ("pads", "padding", 0), ("output_padding", "output_padding", 0))
    attributes = {name: [options.get(key, usual)] * 2 for name, key, usual in names}
    attributes["dilations"] = [options.get("dilation", 1)] * 2
    attributes["pads"] *= 2
    up = node("ConvTranspose", ["x", "w"], ["y"], group=options.get("groups", 1), **attributes)
    return run(), work_by_torch(run), operations([up], {"w": random(*weight)})


def test_transposed_convolutions_are_convolutions_and_a_shuffle() -> None:
    made, work, ops = transposed((8, 5, 2, 2), stride=2)
    assert ops == [Conv2d(8, 20), Foreign("ConvTranspose", tuple(made.shape), fusion="injective")]
    assert ops[0].macs((1, 20, 16, 32)) == work
    made, _, ops = transposed((8, 1, 4, 4), stride=2, padding=1, groups=8)
    shuffled = Foreign("ConvTranspose", tuple(made.shape), fusion="injective")
    assert ops == [Conv2d(8, 32, 2, padding=1, groups=8), shuffled]
    _, work, ops = transposed((8, 5, 1, 1))
    assert ops == [Conv2d(8, 5)]
    assert ops[0].macs((1, 5, 16, 32)) == work


def test_zeros_among_weights_are_work_and_no_parameters() -> None:
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    made, work, (conv, shuffle) = transposed((8, 4, 3, 3), **options)
    runs = work * 16 // 9  # two taps in both directions for each of four places, where three would do for all
    assert conv == Foreign("ConvTranspose", (1, 32, 16, 32), runs, 8 * 4 * 9, "grouped")
    assert shuffle == Foreign("ConvTranspose", tuple(made.shape), fusion="injective")


def test_transposed_convolutions_that_stay_tvms_compute_at_the_results_size() -> None:
    made, work, (op,) = transposed((8, 5, 3, 3), stride=2, dilation=2)
    told = Foreign("ConvTranspose", tuple(made.shape), work, 8 * 5 * 9, "dense")
    assert op == replace(told, steps=made.numel() * 8 * 9)


def test_matrix_products() -> None:
    flat = [CONV, node("GlobalAveragePool", ["c"], ["p"]), node("Flatten", ["p"], ["f"])]
    weights = {"k": random(10, 8), "t": random(8, 10), "b": random(10)}
    gemm = node("Gemm", ["f", "k", "b"], ["y"], transB=1)
    assert operations([*flat, gemm], WEIGHTS | weights)[-1] == Foreign(
        "Gemm", (1, 10, 1, 1), 80, 90, "pointwise"
    )
    product = node("MatMul", ["f", "t"], ["y"])
    assert operations([*flat, product], WEIGHTS | weights)[-1] == Foreign(
        "MatMul", (1, 10, 1, 1), 80, 80, "pointwise"
    )


def test_products_of_maps_have_work_and_no_weights() -> None:
    nodes = [
        CONV,
        node("Reshape", ["c", "r"], ["q"]),
        node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
        node("MatMul", ["k", "q"], ["y"]),
    ]
    op = operations(nodes, WEIGHTS | {"r": ints(1, 8, -1)})[-1]
    assert op == Foreign("MatMul", (1, 512, 512), 512 * 512 * 8, kind="pointwise")


def test_parts_of_a_map_are_values_of_their_own() -> None:
    split = node("Split", ["c"], ["p", "q"], axis=1, num_outputs=2, name="halves")
    graph = imported([CONV, split, node("Mul", ["p", "q"], ["y"])]).graph
    half = Foreign("Split", (1, 4, 16, 32), fusion="injective")
    assert [(n.name, n.op) for n in graph.nodes[1:3]] == [("halves", half), ("q", half)]
    assert graph.nodes[3].inputs == ("halves", "q")


def test_a_part_that_nobody_reads_is_left_out() -> None:
    split = node("Split", ["c"], ["p", "q"], axis=1, num_outputs=2)
    pool = node("MaxPool", ["q"], ["m", "where"], kernel_shape=[2, 2])
    ops = operations([CONV, split, pool, node("Relu", ["m"], ["y"])])
    assert [op.operation for op in ops if isinstance(op, Foreign)] == ["Split", "MaxPool"]


def test_weights_of_another_width_are_refused() -> None:
    wrong: list[NodeProto] = [CONV, node("Conv", ["c", "k"], ["y"], name="second")]
    with pytest.raises(InvalidGraph, match=r"Conv second.* (channels|does not fit)"):
        imported(wrong, WEIGHTS | {"k": np.zeros((4, 5, 1, 1), np.float32)})


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bchw,cm->bmhw", [(1, 8, 16, 32), (8, 4)]),
        ("bchw,bdhw->bcd", [(1, 8, 16, 32), (1, 8, 16, 32)]),
        ("...cw, ...wd -> ...cd", [(1, 8, 16, 32), (1, 8, 32, 5)]),
    ],
)
def test_sums_by_letters(equation: str, shapes: list[tuple[int, ...]]) -> None:
    tensors = [torch.zeros(shape) for shape in shapes]
    work = work_by_torch(lambda: torch.einsum(equation, *tensors))
    second = "c" if shapes[1] == shapes[0] else "k"
    constants = WEIGHTS | ({"k": random(*shapes[1])} if second == "k" else {})
    (_, op) = operations([CONV, node("Einsum", ["c", second], ["y"], equation=equation)], constants)
    assert (op.macs(()), op.work_kind) == (work, "pointwise")


def test_a_sum_of_one_operand_multiplies_nothing() -> None:
    (_, op) = operations([CONV, node("Einsum", ["c"], ["y"], equation="bchw->bwc")])
    assert (op.macs(()), op.sort) == (0, "reductions")


@pytest.mark.parametrize("flat", [False, True])
def test_attention_multiplies_twice(flat: bool) -> None:
    """4 queries with 6 keys of 16 numbers in 2 heads, 1 batch; flat: heads side by side in a row."""
    queries, keys = ((1, 4, 32), (1, 6, 32)) if flat else ((1, 2, 4, 16), (1, 2, 6, 16))
    heads = {"q_num_heads": 2, "kv_num_heads": 2} if flat else {}
    nodes = [
        CONV,
        node("Slice", ["c", "from", "upto", "axes"], ["s"]),
        node("Reshape", ["s", "q"], ["query"]),
        node("Expand", ["k", "k.shape"], ["key"]),
        node("Attention", ["query", "key", "key"], ["y"], **heads),
    ]
    numbers = {"from": ints(0, 0), "upto": ints(1, 4), "axes": ints(1, 2), "q": ints(*queries)}
    made = {**WEIGHTS, **numbers, "k": random(*keys), "k.shape": ints(*keys)}
    op = operations(nodes, made, opset=23)[-1]
    one, many = torch.zeros(1, 2, 4, 16), torch.zeros(1, 2, 6, 16)
    assert op.macs(()) == work_by_torch(lambda: one @ many.mT @ many)


def test_a_large_window_is_more_work_than_a_small_one() -> None:
    def seconds(window: int) -> float:
        pads = {"kernel_shape": [window] * 2, "pads": [window // 2] * 4}
        (_, op) = operations([CONV, node("MaxPool", ["c"], ["y"], **pads)])
        assert op.macs(()) == 0
        return PRIOR.predict_s(Kernel(Graph(("x0",), (Node("n0", op, ("x0",)),), ("n0",)), (MAP,)))

    assert seconds(13) > 10 * seconds(3)


def test_work_that_nobody_counted_has_a_wide_interval() -> None:
    told = {}
    for kind in ("Softmax", "MaxPool"):
        pool = {"kernel_shape": [3, 3]} if kind == "MaxPool" else {}
        (_, op) = operations([CONV, node(kind, ["c"], ["y"], **pool)])
        (told[kind],) = PRIOR.kernels([Kernel(Graph(("x0",), (Node("n0", op, ("x0",)),), ("n0",)), (MAP,))])
    wide, narrow = (told[kind] for kind in ("Softmax", "MaxPool"))
    assert wide is not None
    assert narrow is not None
    assert wide.high_s / wide.median_s == pytest.approx(4 * narrow.high_s / narrow.median_s)
