"""What is computed of constants, and that nothing which a file says makes that long or large."""

import re
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.model_file import without_weights
from cost_models.onnx_io.reader import Steps, steps

from ..onnx_models import CONV, MAP, WEIGHTS, ints, model, node


def found(nodes: list[NodeProto], constants: Any, opset: int = 20) -> Steps:
    made = model([CONV, *nodes], WEIGHTS, opset=opset)
    for name, array in constants.items():  # not before: ONNX's inference would compute with them
        made.graph.initializer.extend(model([CONV], {name: array}).graph.initializer)
    return steps(without_weights(made, "net.onnx"), None, "net.onnx")


def doubled(times: int) -> list[NodeProto]:
    return [node("Concat", [f"k{i}", f"k{i}"], [f"k{i + 1}"], axis=0) for i in range(times)]


BOMBS = {
    "concats": (doubled(40), {"k0": ints(1, 2, 3, 4)}),
    "fill": ([node("ConstantOfShape", ["n"], ["k"])], {"n": ints(1 << 20, 1 << 20)}),
    "spread": ([node("Expand", ["one", "n"], ["k"])], {"one": ints(1), "n": ints(100_000, 100_000)}),
    "square": ([node("ConstantOfShape", ["n"], ["k"])], {"n": ints(1 << 16, 1 << 15)}),
    "tiles": ([node("Tile", ["one", "n"], ["k"])], {"one": ints(1), "n": ints(1 << 40)}),
    "range": (
        [node("Range", ["a", "b", "d"], ["k"])],
        dict(zip("abd", np.int64([0, 1 << 40, 1]), strict=True)),
    ),
    "map": ([node("Expand", ["c", "n"], ["k"])], {"n": ints(1 << 30, 8, 16, 32)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_no_device_has_room_for_is_refused_even_where_nobody_reads_it(name: str) -> None:
    nodes, constants = BOMBS[name]
    with pytest.raises(InvalidGraph, match=r"^net.onnx: .*k\d* has [\d,]+ elements; allowed are [14],"):
        found([*nodes, node("Relu", ["c"], ["y"])], constants)


def test_large_constants_are_known_by_their_shape_alone() -> None:
    nodes = [*doubled(20), node("Cast", ["k20"], ["f"], to=1), node("ReduceMax", ["f"], ["m"], keepdims=0)]
    told = found([*nodes, node("Add", ["c", "m"], ["y"])], {"k0": ints(1, 2, 3, 4)})
    assert told.shapes["k20"] == (4 << 20,)
    assert "k5" in told.constants
    assert {"k20", "f", "m"} <= told.weights
    assert [n.op_type for n in told.nodes] == ["Conv", "Add"]


def test_work_that_sizes_do_not_tell_is_not_done() -> None:
    """A sum over 256 ** 6 products of six short vectors; it is known, and computed by nobody."""
    vectors = {f"v{index}": np.ones(256, np.float32) for index in range(6)}
    product = node("Einsum", [*vectors], ["e"], equation="a,b,c,d,e,f->")
    told = found([product, node("Mul", ["c", "e"], ["y"])], vectors)
    assert "e" in told.weights


def test_a_size_that_nobody_computed_is_told() -> None:
    values = {"k0": np.arange(5000), "one": ints(1)}
    nodes = [node("Slice", ["k0", "one", "two"], ["s"]), node("Reshape", ["c", "s"], ["y"])]
    told = r"^net.onnx: Reshape y: the shape of y depends on values of s that are not there$"
    with pytest.raises(InvalidGraph, match=told):
        found(nodes, values | {"two": ints(5)})


FAITHFUL = {
    "GroupNormalization": (node("GroupNormalization", ["c", "g", "g"], ["y"], num_groups=4), 21),
    "MeanVarianceNormalization": (node("MeanVarianceNormalization", ["c"], ["y"]), 13),
    "Dropout": (node("Dropout", ["c"], ["y", "mask"]), 9),
    "BatchNormalization": (node("BatchNormalization", ["c", *"gggg"], ["y", *("1234")]), 9),
}


@pytest.mark.parametrize("name", FAITHFUL)
def test_shapes_that_onnx_does_not_tell_are_told(name: str) -> None:
    made, opset = FAITHFUL[name]
    assert found([made], {"g": np.ones(8, np.float32)}, opset).shapes["y"] == MAP


def test_unpooling_gives_the_size_that_it_is_told() -> None:
    pool = node("MaxPool", ["c"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2])
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    told = found([pool, node("MaxUnpool", ["p", "i", "n"], ["y"], **window)], {"n": ints(1, 8, 17, 32)})
    assert told.shapes["y"] == (1, 8, 17, 32)
    assert found([pool, node("MaxUnpool", ["p", "i"], ["y"], **window)], {}).shapes["y"] == MAP


def test_a_known_choice_of_channels_has_a_known_size() -> None:
    some = {"some": np.array([True, False, True] + [False] * 5)}
    assert found([node("Compress", ["c", "some"], ["y"], axis=1)], some).shapes["y"] == (1, 2, 16, 32)
    assert found([node("Compress", ["c", "some"], ["y"])], some).shapes["y"] == (2,)


def test_an_empty_part_is_nothing() -> None:
    """As rotary embeddings cut off what they do not turn, even where that is nothing."""
    parts = [node("Split", ["c", "n"], ["p", "none"], axis=1), node("Concat", ["p", "none"], ["y"], axis=1)]
    told = found(parts, {"n": ints(8, 0)})
    assert told.shapes["y"] == MAP
    assert told.constants["none"].shape == (1, 0, 16, 32)
    assert [n.op_type for n in told.nodes] == ["Conv", "Split", "Concat"]


def test_what_no_output_needs_may_be_anything() -> None:
    lost = [node("NonZero", ["c"], ["i"]), node("LSTM", ["i", "w", "w"], ["l"], hidden_size=8)]
    told = found([*lost, node("Relu", ["c"], ["y"])], {})
    assert [n.op_type for n in told.nodes] == ["Conv", "Relu"]
    assert told.readers["c"] == 1


WRONG = {
    "axis": node("Concat", ["c", "c"], ["y"], axis=9),
    "window": node("MaxPool", ["c"], ["y"], kernel_shape=[0, 0]),
    "groups": node("Conv", ["c", "w"], ["y"], group=0),
    "strides": node("Conv", ["c", "w"], ["y"], strides=[0, 0]),
    "permutation": node("Transpose", ["c"], ["y"], perm=[0, 0, 0, 0]),
    "numbers for texts": node("Conv", ["c", "w"], ["y"], auto_pad=3),
    "texts for numbers": node("Conv", ["c", "w"], ["y"], pads="no"),
    "no texts": node("Conv", ["c", "w"], ["y"], auto_pad=b"\xff\xfe"),
    "too few": node("Conv", ["c", "w"], ["y"], pads=[1]),
    "one of two": node("Resize", ["c", "", "one"], ["y"], mode="linear"),
    "equation": node("Einsum", ["c", "c"], ["y"], equation="ab,,->->"),
}


@pytest.mark.parametrize("name", WRONG)
def test_attributes_that_make_no_sense_are_one_line(name: str) -> None:
    from cost_models.onnx_io.importer import from_onnx

    made = model([CONV, node("Relu", ["c"], ["y"])], WEIGHTS | {"one": np.float32([1])})
    made.graph.node[1].CopyFrom(WRONG[name])
    with pytest.raises(InvalidGraph, match=rf"^net.onnx: {re.escape(WRONG[name].op_type)} y.*") as caught:
        from_onnx(made, name="net.onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
