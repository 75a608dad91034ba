"""Work and weights of operations that ours do not say."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import NodeProto
from torch.utils.flop_counter import FlopCounterMode

from cost_models.errors import InvalidGraph
from cost_models.ir.ops import Foreign

from ..onnx_models import CONV, WEIGHTS, imported, ints, node, operations, random


def work_by_torch(run: Any) -> int:
    """Multiply-accumulates that PyTorch counts: half of its floating-point operations."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(
    ("weight", "options", "kind"),
    [
        ((8, 5, 2, 2), {"stride": 2}, "dense"),
        ((8, 4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, "grouped"),
        ((8, 1, 4, 4), {"stride": 2, "padding": 1, "groups": 8}, "depthwise"),
        ((8, 5, 1, 1), {}, "pointwise"),
    ],
)
def test_transposed_convolutions(weight: tuple[int, ...], options: dict[str, int], kind: str) -> None:
    filters = torch.tensor(random(*weight))
    made = torch.nn.functional.conv_transpose2d(torch.zeros(1, 8, 16, 32), filters, None, **options)
    work = work_by_torch(
        lambda: torch.nn.functional.conv_transpose2d(torch.zeros(1, 8, 16, 32), filters, None, **options)
    )
    attributes: dict[str, Any] = {
        "group": options.get("groups", 1),
        "strides": [options.get("stride", 1)] * 2,
    }
    attributes |= {"pads": [options.get("padding", 0)] * 4}
    attributes |= {"output_padding": [options.get("output_padding", 0)] * 2}
    up = node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    (op,) = operations([up], {"w": random(*weight)})
    assert op == Foreign("ConvTranspose", tuple(made.shape), work, filters.numel(), kind)  # type: ignore[arg-type]


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
