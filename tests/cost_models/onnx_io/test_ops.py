"""What ONNX nodes become: our operations where these say the same, else foreign ones."""

from math import prod
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

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
    Op,
    Resize,
    ShiftByOne,
    ToByte,
)
from cost_models.onnx_io.ops import LRASPP_POOL
from search.spaces.decoders import POOL_KERNEL, POOL_STRIDE

from ..onnx_models import CONV, MAP, WEIGHTS, imported, ints, node, operations, random

ENDS = {"a": np.float32(0), "b": np.float32(6)}
LIKE_FIRST = Conv2d(8, 8, 3, padding=1)


def after_first(*nodes: NodeProto, constants: dict[str, Any] | None = None, **options: Any) -> list[Op]:
    """What nodes become that read ``c``, the result of a convolution."""
    first, *others = operations([CONV, *nodes], WEIGHTS | (constants or {}), **options)
    assert first == LIKE_FIRST
    return others


@pytest.mark.parametrize(
    ("weight", "attributes", "expected"),
    [
        ((8, 8, 3, 3), {"pads": [1] * 4, "strides": [2, 2]}, Conv2d(8, 8, 3, 2, 1)),
        ((16, 2, 5, 5), {"group": 4, "dilations": [2, 2]}, Conv2d(8, 16, 5, dilation=2, groups=4)),
        ((8, 1, 3, 3), {"group": 8, "auto_pad": "SAME_UPPER"}, Conv2d(8, 8, 3, padding=1, groups=8)),
        ((8, 8, 3, 3), {"auto_pad": "VALID"}, Conv2d(8, 8, 3)),
        ((4, 8, 1, 1), {}, Conv2d(8, 4)),
    ],
)
def test_square_convolutions_are_ours(weight: tuple[int, ...], attributes: Any, expected: Conv2d) -> None:
    conv = node("Conv", ["x", "w"], ["y"], **attributes)
    assert operations([conv], {"w": random(*weight)}) == [expected]
    biased = node("Conv", ["x", "w", "b"], ["y"], **attributes)
    (op,) = operations([biased], {"w": random(*weight), "b": random(weight[0])})
    assert isinstance(op, Conv2d)
    assert op.bias


@pytest.mark.parametrize(
    ("weight", "attributes", "shape", "label", "kind"),
    [
        ((8, 8, 1, 3), {"pads": [0, 1, 0, 1]}, MAP, "Conv1x3", "dense"),
        ((8, 8, 7, 1), {"pads": [3, 0, 3, 0]}, MAP, "Conv7x1", "dense"),
        (
            (8, 1, 3, 3),
            {"group": 8, "strides": [2, 2], "auto_pad": "SAME_UPPER"},
            (1, 8, 8, 16),
            "Conv3x3",
            "depthwise",
        ),
        ((8, 4, 3, 3), {"group": 2, "pads": [0, 0, 1, 1]}, (1, 8, 15, 31), "Conv3x3", "grouped"),
        ((8, 8, 1, 1), {"strides": [2, 1]}, (1, 8, 8, 32), "Conv1x1", "pointwise"),
    ],
)
def test_uneven_convolutions_are_foreign(
    weight: tuple[int, ...], attributes: Any, shape: tuple[int, ...], label: str, kind: Any
) -> None:
    conv = node("Conv", ["x", "w"], ["y"], **attributes)
    work = int(np.prod(shape) * np.prod(weight[1:]))
    weights = int(np.prod(weight))
    assert operations([conv], {"w": random(*weight)}) == [Foreign(label, shape, work, weights, kind)]


NORM = node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"])
STATISTICS = {"s": random(8), "b": random(8), "m": random(8), "v": np.ones(8, np.float32)}


def test_batch_normalisation_belongs_to_its_convolution() -> None:
    ops = after_first(NORM, node("Relu", ["n"], ["y"]), constants=STATISTICS)
    assert isinstance(ops[0], BatchNorm2d)
    assert ops[1:] == [Activation("relu")]


def test_batch_normalisation_elsewhere_is_elementwise() -> None:
    alone = Foreign("BatchNormalization", MAP, weights=4 * 8, fusion="elementwise")
    assert after_first(NORM, node("Add", ["n", "c"], ["y"]), constants=STATISTICS) == [alone, Add()]
    renamed = node("BatchNormalization", ["i", "s", "b", "m", "v"], ["n"])
    shared = [node("Identity", ["c"], ["i"]), renamed, node("Add", ["n", "c"], ["y"])]
    assert after_first(*shared, constants=STATISTICS) == [alone, Add()]


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        ([node("Relu", ["c"], ["y"])], {}, [Activation("relu")]),
        ([node("HardSwish", ["c"], ["y"])], {}, [Activation("hswish")]),
        ([node("Clip", ["c", "a", "b"], ["y"])], ENDS, [Activation("relu6")]),
        (
            [node("Clip", ["c", "a", "a"], ["y"])],
            ENDS,
            [Foreign("Clip", MAP, fusion="elementwise")],
        ),
        ([node("HardSigmoid", ["c"], ["y"], alpha=1 / 6)], {}, [Activation("hsigmoid")]),
        (
            [node("HardSigmoid", ["c"], ["g"], alpha=1 / 6), node("Mul", ["c", "g"], ["y"])],
            {},
            [Activation("hswish")],
        ),
        ([node("HardSigmoid", ["c"], ["y"])], {}, [Foreign("HardSigmoid", MAP, fusion="elementwise")]),
        ([node("LeakyRelu", ["c"], ["y"])], {}, [Foreign("LeakyRelu", MAP, fusion="elementwise")]),
        (
            [node("PRelu", ["c", "k"], ["y"])],
            {"k": random(8, 1, 1)},
            [Foreign("PRelu", MAP, weights=8, fusion="elementwise")],
        ),
        (
            [node("Add", ["c", "k"], ["y"])],
            {"k": random(8, 1, 1)},
            [Foreign("Add", MAP, weights=8, fusion="elementwise")],
        ),
        ([node("Sub", ["c", "x"], ["y"])], {}, [Foreign("Sub", MAP, fusion="elementwise")]),
        ([node("Concat", ["c", "x"], ["y"], axis=-3)], {}, [Concat()]),
        (
            [node("Concat", ["c", "x"], ["y"], axis=2)],
            {},
            [Foreign("Concat", (1, 8, 32, 32), fusion="injective")],
        ),
        ([node("GlobalAveragePool", ["c"], ["y"])], {}, [GlobalAvgPool()]),
        ([node("ReduceMean", ["c", "a"], ["y"], keepdims=0)], {"a": ints(-1, 2)}, [GlobalAvgPool()]),
        ([node("ReduceMean", ["c", "a"], ["y"])], {"a": ints(1)}, [Foreign("ReduceMean", (1, 1, 16, 32))]),
        (
            [node("AveragePool", ["c"], ["y"], kernel_shape=[2, 4], strides=[2, 2])],
            {},
            [AvgPool2d((2, 4), (2, 2))],
        ),
        (
            [node("AveragePool", ["c"], ["y"], kernel_shape=[3, 3], pads=[1] * 4)],
            {},
            [Foreign("AveragePool", MAP, steps=9 * prod(MAP))],
        ),
        (
            [node("AveragePool", ["c"], ["y"], kernel_shape=[1, 1], strides=[2, 2])],
            {},
            [Foreign("AveragePool", (1, 8, 8, 16), steps=1024)],
        ),
        (
            [node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2])],
            {},
            [Foreign("MaxPool", (1, 8, 8, 16), steps=4 * 1024)],
        ),
        (
            [node("MaxPool", ["c"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)],
            {},
            [MaxPool2d(3, 2, 1)],
        ),
        (
            [node("MaxPool", ["c"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])],
            {},
            [Foreign("MaxPool", (1, 8, 8, 16), steps=9 * 1024)],
        ),
        (
            [node("GlobalMaxPool", ["c"], ["y"])],
            {},
            [Foreign("GlobalMaxPool", (1, 8, 1, 1), fusion="comm_reduce")],
        ),
        ([node("ArgMax", ["c"], ["y"], axis=1, keepdims=0)], {}, [ArgMax()]),
        (
            [
                node("ArgMax", ["c"], ["i"], axis=-3, keepdims=0),
                node("Cast", ["i"], ["y"], to=TensorProto.UINT8),
            ],
            {},
            [ArgMax(), ToByte()],
        ),
        ([node("ArgMax", ["c"], ["y"], axis=1)], {}, [Foreign("ArgMax", (1, 1, 16, 32))]),
        ([node("Softmax", ["c"], ["y"], axis=1)], {}, [Foreign("Softmax", MAP, counted=False)]),
        (
            [node("DepthToSpace", ["c"], ["y"], blocksize=2)],
            {},
            [Foreign("DepthToSpace", (1, 2, 32, 64), fusion="injective")],
        ),
        (
            [node("Slice", ["c", "o", "e", "a"], ["y"])],
            {"o": ints(1, 1), "e": ints(99, 99), "a": ints(2, 3)},
            [ShiftByOne()],
        ),
        (
            [node("Slice", ["c", "o", "e", "a"], ["y"])],
            {"o": ints(1), "e": ints(99), "a": ints(2)},
            [Foreign("Slice", (1, 8, 15, 32), fusion="injective")],
        ),
        (
            [node("Pad", ["c", "p"], ["y"])],
            {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)},
            [Foreign("Pad", (1, 8, 18, 34), fusion="injective")],
        ),
    ],
)
def test_nodes_after_a_convolution(nodes: list[NodeProto], constants: Any, expected: list[Op]) -> None:
    assert after_first(*nodes, constants=constants) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"mode": "linear"}, Resize(False, (32, 64))),
        ({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, Resize(False, (32, 64))),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, Resize(True, (32, 64))),
        ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, None),
        ({"mode": "linear", "antialias": 1}, None),
        ({"mode": "nearest"}, None),
        ({"mode": "cubic"}, None),
    ],
)
def test_resizes(attributes: Any, expected: Resize | None) -> None:
    resize = node("Resize", ["c", "", "s"], ["y"], **attributes)
    taps = {"linear": 4, "cubic": 16, "nearest": 0}[attributes["mode"]]
    foreign = Foreign("Resize", (1, 8, 32, 64), fusion="injective", steps=taps * 8 * 32 * 64)
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    assert after_first(resize, constants=scales) == [expected or foreign]


def test_older_resizes_count_pixels_from_their_corners() -> None:
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    for kind, opset in (("Resize", 10), ("Upsample", 9)):
        (op,) = after_first(node(kind, ["c", "s"], ["y"], mode="linear"), constants=scales, opset=opset)
        assert op == Foreign(kind, (1, 8, 32, 64), fusion="injective", steps=4 * 8 * 32 * 64)


def test_an_odd_map_is_shifted_and_filled_up() -> None:
    cut = node("Slice", ["c", "o", "e", "a"], ["s"])
    fill = node("Pad", ["s", "p"], ["y"])
    given = {"o": ints(1, 1), "e": ints(99, 99), "a": ints(2, 3)}
    filled = given | {"p": ints(0, 0, 0, 0, 0, 0, 1, 0)}
    assert after_first(cut, fill, constants=filled, shape=(1, 8, 17, 32)) == [ShiftByOne()]
    other = given | {"p": ints(0, 0, 0, 0, 0, 0, 0, 1)}
    assert len(after_first(cut, fill, constants=other, shape=(1, 8, 17, 32))) == 2


def test_a_map_and_its_gate() -> None:
    pool, gate = node("GlobalAveragePool", ["c"], ["p"]), node("Conv", ["p", "k"], ["g"])
    point = {"k": random(8, 8, 1, 1)}
    for factors in (["c", "g"], ["g", "c"]):
        graph = imported([CONV, pool, gate, node("Mul", factors, ["y"])], WEIGHTS | point).graph
        assert graph.nodes[-1].op == Mul()
        assert graph.nodes[-1].inputs == ("first", "g")
    sum_of = after_first(pool, gate, node("Add", ["g", "c"], ["y"]), constants=point)
    assert sum_of[-1] == Foreign("Add", MAP, fusion="elementwise")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ([node("Sigmoid", ["c"], ["e"])], "Sigmoid+Mul"),
        ([node("Softplus", ["c"], ["d"]), node("Tanh", ["d"], ["e"])], "Softplus+Tanh+Mul"),
        (
            [node("Div", ["c", "k"], ["d"]), node("Erf", ["d"], ["f"]), node("Add", ["f", "k"], ["e"])],
            "Div+Erf+Add+Mul",
        ),
    ],
)
def test_products_with_a_function_of_itself_are_one_activation(function: list[NodeProto], name: str) -> None:
    constant = {"k": np.float32(1.5)}
    for factors in (["c", "e"], ["e", "c"]):
        ops = after_first(*function, node("Mul", factors, ["y"]), constants=constant)
        assert ops == [Foreign(name, MAP, fusion="elementwise")]
    shared = after_first(
        *function, node("Mul", ["c", "e"], ["m"]), node("Add", ["m", "e"], ["y"]), constants=constant
    )
    assert shared[-2:] == [Mul(), Add()]  # the function's result is read twice, so that it is a map


def test_pooling_that_covers_a_small_map_is_that_of_the_decoder() -> None:
    assert (LRASPP_POOL.kernel, LRASPP_POOL.stride) == (POOL_KERNEL, POOL_STRIDE)
    whole = node("AveragePool", ["c"], ["y"], kernel_shape=[16, 32], strides=[16, 20])
    assert after_first(whole) == [LRASPP_POOL]
    other = node("AveragePool", ["c"], ["y"], kernel_shape=[16, 32], strides=[16, 32])
    assert after_first(other) == [AvgPool2d((16, 32), (16, 32))]


def test_what_changes_nothing_is_left_out() -> None:
    nodes = [
        node("Identity", ["c"], ["i"]),
        node("Dropout", ["i"], ["d"]),
        node("Cast", ["d"], ["h"], to=TensorProto.FLOAT16),
        node("Pad", ["h", "p"], ["q"]),
        node("GlobalAveragePool", ["q"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Relu", ["f"], ["y"]),
    ]
    assert after_first(*nodes, constants={"p": ints(*[0] * 8)}) == [GlobalAvgPool(), Activation("relu")]


def test_a_pixel_is_spread() -> None:
    nodes = [node("GlobalAveragePool", ["c"], ["p"]), node("Expand", ["p", "s"], ["y"])]
    assert after_first(*nodes, constants={"s": ints(1, 8, 4, 6)}) == [GlobalAvgPool(), Expand((4, 6))]
