import re
from typing import Any

import pytest

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.graph import Graph, Node
from cost_models.ir.op import as_map
from cost_models.ir.ops import (
    Activation,
    Add,
    ArgMax,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Expand,
    Foreign,
    GlobalAvgPool,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Resize,
    Shape,
    ShiftByOne,
    Standardize,
    ToByte,
)

MAP = (1, 8, 7, 10)


@pytest.mark.parametrize(
    ("op", "inputs", "output"),
    [
        (Conv2d(8, 4), [MAP], (1, 4, 7, 10)),
        (Conv2d(8, 4, kernel=3, stride=2, padding=1), [MAP], (1, 4, 4, 5)),
        (Conv2d(8, 8, kernel=3, dilation=2, padding=2, groups=8), [MAP], (1, 8, 7, 10)),
        (Conv2d(8, 8, kernel=5), [MAP], (1, 8, 3, 6)),
        (BatchNorm2d(8), [MAP], MAP),
        (Activation("hswish"), [MAP], MAP),
        (Add(), [MAP, MAP], MAP),
        (Mul(), [MAP, (1, 8, 1, 1)], MAP),
        (Mul(), [MAP, MAP], MAP),
        (Concat(), [MAP, (1, 3, 7, 10), MAP], (1, 19, 7, 10)),
        (AvgPool2d((3, 4), (2, 3)), [MAP], (1, 8, 3, 3)),
        (AvgPool2d((49, 49), (16, 20)), [(1, 8, 64, 128)], (1, 8, 1, 4)),  # LR-ASPP at 1024x2048
        (AvgPool2d((49, 49), (16, 20)), [MAP], (1, 8, 1, 1)),  # clamped
        (MaxPool2d(3, 1, 1), [MAP], MAP),
        (MaxPool2d(3, 2, 1), [MAP], (1, 8, 4, 5)),
        (Standardize(8), [MAP], MAP),
        (GlobalAvgPool(), [MAP], (1, 8, 1, 1)),
        (Resize(align_corners=True, size=(20, 3)), [MAP], (1, 8, 20, 3)),
        (Expand((3, 4)), [(2, 8, 1, 1)], (2, 8, 3, 4)),
        (ShiftByOne(), [MAP], (1, 8, 7, 9)),  # even sides lose a pixel, odd ones are padded
        (Normalize((0, 0, 0), (1, 1, 1)), [(1, 7, 10, 3)], (1, 3, 7, 10)),
        (ArgMax(), [MAP], (1, 7, 10)),
        (ToByte(), [(1, 7, 10)], (1, 7, 10)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Op) else "",
)
def test_shapes(op: Op, inputs: list[Shape], output: Shape) -> None:
    assert op.output_shape(inputs, None) == output


def test_macs_and_parameters_of_a_convolution() -> None:
    dense = Conv2d(8, 12, kernel=3, stride=2, padding=1, bias=True)
    output = dense.output_shape([(2, 8, 16, 16)], None)
    assert dense.macs(output) == 2 * 12 * 8 * 8 * 8 * 9
    assert dense.parameters() == {"weight": (12, 8, 3, 3), "bias": (12,)}
    grouped = Conv2d(8, 12, groups=4)
    assert grouped.macs((1, 12, 5, 5)) == 12 * 25 * 2
    assert grouped.parameters() == {"weight": (12, 2, 1, 1)}


def test_macs_are_counted_over_convolutions_only() -> None:
    for op in (BatchNorm2d(8), Activation(), Add(), AvgPool2d((2, 2), (2, 2)), Resize(align_corners=True)):
        assert op.macs(MAP) == 0


def test_comparisons_of_a_pooling_are_steps_of_its_kernel() -> None:
    graph = Graph(("x",), (Node("pool", MaxPool2d(3, 2, 1), ("x",)),), ("pool",))
    (kernel,) = split_into_kernels(graph, {"x": MAP})
    assert (kernel.steps, kernel.macs, kernel.work_class) == (8 * 4 * 5 * 9, 0, "depthwise")
    with pytest.raises(InvalidGraph, match=r"^pool: a 9-pixel window does not fit a map of 7x10$"):
        Graph(("x",), (Node("pool", MaxPool2d(9, 1, 0), ("x",)),), ("pool",)).shapes({"x": MAP})
    with pytest.raises(InvalidGraph, match=r"^statistics of 4 channels, got 8$"):
        Standardize(4).output_shape([MAP], None)


def test_batch_norm_trains_two_tensors_and_stores_two() -> None:
    op = BatchNorm2d(8)
    assert op.parameters() == {"weight": (8,), "bias": (8,)}
    assert op.buffers() == {"running_mean": (8,), "running_var": (8,)}


@pytest.mark.parametrize(
    ("conv", "depthwise"),
    [(Conv2d(8, 8, groups=8), True), (Conv2d(8, 16, groups=8), False), (Conv2d(1, 1), False)],
)
def test_depthwise_has_one_channel_a_group(conv: Conv2d, depthwise: bool) -> None:
    assert conv.is_depthwise is depthwise


@pytest.mark.parametrize(
    ("op", "inputs", "reason"),
    [
        (Conv2d(4, 4), [MAP], "convolution takes 4 channels, got 8"),
        (Conv2d(8, 4, kernel=5, dilation=2), [MAP], "a 9-pixel window does not fit a map of 7x10"),
        (BatchNorm2d(4), [MAP], "batch normalisation of 4 channels, got 8"),
        (Add(), [MAP, (1, 8, 7, 1)], "cannot add maps of (1, 8, 7, 10) and (1, 8, 7, 1)"),
        (Mul(), [MAP, (1, 4, 1, 1)], "cannot scale a map of (1, 8, 7, 10) by one of (1, 4, 1, 1)"),
        (Concat(), [MAP, (1, 8, 7, 9)], "cannot concatenate maps of (1, 8, 7, 10), (1, 8, 7, 9)"),
        (Resize(align_corners=True), [MAP], "resize has no size"),
        (Expand((3, 4)), [MAP], "cannot expand a map of (1, 8, 7, 10) to (3, 4)"),
        (Normalize((0, 0, 0), (1, 1, 1)), [(1, 7, 10, 4)], "a frame has 3 channels (RGB), got 4"),
        (ArgMax(), [(1, 257, 2, 2)], "class indices are 8 bits wide: at most 256 classes, got 257"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Op) else "",
)
def test_inputs_that_do_not_fit(op: Op, inputs: list[Shape], reason: str) -> None:
    with pytest.raises(InvalidGraph, match=f"^{re.escape(reason)}$"):
        op.output_shape(inputs, None)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"stride": 0}, "convolution: stride is 0, must be at least 1"),
        ({"kernel": -3}, "convolution: kernel is -3, must be at least 1"),
        ({"groups": 3}, "convolution 8->12: groups=3 must divide both"),
    ],
)
def test_a_convolution_that_cannot_be(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidGraph, match=f"^{re.escape(reason)}$"):
        Conv2d(8, 12, **arguments)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (MAP, MAP),
        ((1, 7, 10), (1, 7, 10)),
        ((2, 19), (2, 19, 1, 1)),
        ((1, 2, 4, 7, 10), (1, 2, 28, 10)),
        ((5,), (1, 5, 1, 1)),
        ((), (1, 1, 1, 1)),
    ],
)
def test_shapes_of_any_rank_as_maps(shape: Shape, expected: Shape) -> None:
    assert as_map(shape) == expected


def test_somebody_elses_operation_says_itself_what_it_costs() -> None:
    op = Foreign("ConvTranspose", (1, 4, 14, 20), 1000, 128, "dense")
    assert op.output_shape([MAP, MAP], None) == (1, 4, 14, 20)
    assert op.macs((1, 4, 14, 20)) == 1000
    assert op.parameters() == {"weight": (128,)}
    assert Foreign("Softmax", MAP).parameters() == {}
