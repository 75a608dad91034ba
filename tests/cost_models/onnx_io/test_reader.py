"""Files that latencies can be told for, files that they cannot, and sizes that the graph itself computes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.importer import from_onnx, read_onnx
from cost_models.onnx_io.model_file import load, without_weights
from cost_models.onnx_io.reader import Steps, steps

from ..onnx_models import CONV, MAP, WEIGHTS, ints, model, node, random


def steps_of(made: onnx.ModelProto, size: tuple[int, int] | None = None) -> Steps:
    return steps(without_weights(made, "net.onnx"), size, "net.onnx")


CONV_ALONE = node("Conv", ["x", "w"], ["y"], name="first")
SCALES = np.array([1, 1, 2, 2], np.float32)


def saved(folder: Path, made: onnx.ModelProto) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(InvalidGraph, match=rf"^{re.escape(str(path))}: .*{re.escape(words)}") as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)


def test_a_sound_file_keeps_its_weights(tmp_path: Path) -> None:
    read = load(saved(tmp_path, model([CONV_ALONE])))
    found = steps(read, None, "net.onnx")
    assert [n.op_type for n in found.nodes] == ["Conv"]
    assert found.shapes["y"] == (1, 8, 14, 30)
    np.testing.assert_array_equal(found.constants["w"], WEIGHTS["w"])


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "no such file")
    refused(tmp_path, "no such file")
    text = tmp_path / "text.onnx"
    text.write_text("space: squeezenas-small\nblocks: []\n")
    refused(text, "not an ONNX file")
    text.write_bytes(b"")
    refused(text, "not an ONNX file")
    whole = saved(tmp_path, model([CONV_ALONE])).read_bytes()
    text.write_bytes(whole[: len(whole) // 2])
    refused(text, "not an ONNX file")


def test_versions_outside_those_known_are_refused(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    made = model([CONV_ALONE])
    for opset in (0, newest + 1):
        made.opset_import[0].version = opset
        refused(saved(tmp_path, made), f"opset {opset} in format 9; allowed are opsets 1 to {newest}")
    made.opset_import[0].version = 18
    made.ir_version = onnx.IR_VERSION + 1
    refused(saved(tmp_path, made), f"in format {onnx.IR_VERSION + 1}; allowed are")


def test_weights_in_another_file_may_be_missing(tmp_path: Path) -> None:
    made = model([CONV_ALONE])
    convert_model_to_external_data(made, location="weights.bin", size_threshold=0)
    path = tmp_path / "net.onnx"
    onnx.save_model(made, path)
    there = steps(load(path), None, "")
    np.testing.assert_array_equal(there.constants["w"], WEIGHTS["w"])
    assert there.notes == ()
    for lose in (
        lambda: (tmp_path / "weights.bin").write_bytes(b"a pointer"),
        (tmp_path / "weights.bin").unlink,
    ):
        lose()
        left = steps(load(path), None, "")
        assert (left.weights, left.shapes["y"]) == ({"w"}, there.shapes["y"])
        assert left.notes == ("weights are not there (w): told by their shapes",)


def test_invalid_onnx_is_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path, model([node("Conv", ["nobody", "w"], ["y"])])), "not valid ONNX")
    made = model([CONV_ALONE])
    made.graph.node[0].op_type = "Convolve"
    refused(saved(tmp_path, made), "not valid ONNX")


BRANCH = helper.make_graph(
    [node("Identity", ["c"], ["z"])], "b", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, MAP)]
)


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        (
            [CONV, node("QuantizeLinear", ["c", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])],
            {"s": np.float32(0.1)},
            "quantised (QuantizeLinear); latencies are of floating point",
        ),
        (
            [
                CONV,
                node("ReduceMax", ["c"], ["m"], keepdims=0),
                node("Cast", ["m"], ["t"], to=TensorProto.BOOL),
                node("If", ["t"], ["y"], then_branch=BRANCH, else_branch=BRANCH, name="choice"),
            ],
            {},
            "If choice decides while it runs how often what runs",
        ),
        ([node("Relu", ["x"], ["y"])], {}, "has no convolution"),
    ],
)
def test_networks_without_one_latency_are_refused(
    nodes: list[NodeProto], constants: dict[str, Any], words: str, tmp_path: Path
) -> None:
    refused(saved(tmp_path, model(nodes, WEIGHTS | constants)), words)


def test_operations_of_other_makers_are_refused(tmp_path: Path) -> None:
    made = model([CONV, node("Relu", ["c"], ["y"])])
    made.graph.node[1].CopyFrom(node("FusedThing", ["c"], ["y"], domain="com.maker"))
    made.opset_import.append(helper.make_opsetid("com.maker", 1))
    refused(saved(tmp_path, made), "FusedThing of com.maker is no operation of ONNX")


def test_functions_are_written_out(tmp_path: Path) -> None:
    made = model([CONV, node("Relu", ["c"], ["y"])])
    made.graph.node[1].CopyFrom(node("Twice", ["c"], ["y"], domain="own"))
    opset = [helper.make_opsetid("", 18)]
    body = [node("Relu", ["a"], ["r"]), node("Add", ["r", "a"], ["b"])]
    made.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, opset))
    made.opset_import.append(helper.make_opsetid("own", 1))
    found = steps(load(saved(tmp_path, made)), None, "net.onnx")
    assert [n.op_type for n in found.nodes] == ["Conv", "Relu", "Add"]


def shape_of(shape: list[int | str | None], size: tuple[int, int] | None = None) -> tuple[int, ...]:
    return steps_of(model([CONV_ALONE], shape=shape), size).shapes["x"]


def test_open_sizes_are_given_and_an_open_batch_is_one() -> None:
    assert shape_of(["n", 8, "h", "w"], (64, 96)) == (1, 8, 64, 96)
    assert shape_of([None, 8, 20, 30]) == (1, 8, 20, 30)
    assert shape_of([2, 8, 20, "w"], (20, 30)) == (2, 8, 20, 30)
    assert shape_of([1, 8, 20, 30], (20, 30)) == (1, 8, 20, 30)


def test_a_frame_has_its_channels_last() -> None:
    moved = [node("Transpose", ["x"], ["m"], perm=[0, 3, 1, 2]), node("Conv", ["m", "w"], ["y"])]
    made = model(moved, {"w": random(8, 3, 3, 3)}, shape=[1, "h", "w", 3])
    assert steps_of(made, (64, 96)).shapes["m"] == (1, 3, 64, 96)


@pytest.mark.parametrize("before", [[], [node("Cast", ["x"], ["r"], to=1), node("Mul", ["r", "s"], ["k"])]])
def test_a_frame_of_any_channels_is_told_by_what_is_done_with_it(before: list[onnx.NodeProto]) -> None:
    moved = node("Transpose", ["k" if before else "x"], ["m"], perm=[0, 3, 1, 2])
    weights = {"w": random(8, 5, 3, 3), "s": random(1)}
    made = model([*before, moved, node("Conv", ["m", "w"], ["y"])], weights, shape=[1, "h", "w", 5])
    found = steps_of(made, (64, 96))
    assert (found.frames, found.shapes["m"]) == ({"x"}, (1, 5, 64, 96))
    assert from_onnx(made, (64, 96), name="net.onnx").size == (64, 96)


@pytest.mark.parametrize(
    ("shape", "size", "words"),
    [
        ([1, 8, "h", "w"], None, "input x has no fixed size; give one: --resolution HxW"),
        ([1, 8, 20, None], None, "input x has no fixed size; give one: --resolution HxW"),
        ([1, "c", 20, 30], None, "input x has an open shape; export it with fixed sizes"),
        ([1, 8, 20, 30], (40, 60), "input x is for images of 20x30, not of 40x60; leave the resolution out"),
        ([1, 8, 20, "w"], (40, 60), "input x is for images of 20x?, not of 40x60; leave the resolution out"),
        ([1, 8, 2, 30], None, "Conv first leaves nothing of its input; give a larger size"),
    ],
)
def test_sizes_that_cannot_be(
    shape: list[int | str | None], size: tuple[int, int] | None, words: str
) -> None:
    with pytest.raises(InvalidGraph, match=f"^net.onnx: {re.escape(words)}"):
        shape_of(shape, size)


def test_sizes_that_do_not_meet_again() -> None:
    """Half of an odd side, twice, is another size: the classical U-Net at a size that is no multiple of 2."""
    down = node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2])
    up = node("Resize", ["d", "", "s"], ["u"], mode="nearest")
    join = node("Concat", ["u", "c"], ["y"], axis=1, name="join")
    made = model([CONV, down, up, join], WEIGHTS | {"s": SCALES}, shape=[1, 8, "h", "w"])
    assert steps_of(made, (16, 32)).shapes["y"] == (1, 16, 16, 32)
    with pytest.raises(
        InvalidGraph, match=r"^net.onnx: Concat join does not fit its inputs: .*; try another"
    ):
        steps_of(made, (17, 32))


def test_sizes_that_the_graph_computes_are_computed() -> None:
    """As exporters write ``interpolate(low, size=x.shape[2:])`` for open sizes."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        *(node("Shape", [value], [f"{value}.shape"]) for value in ("x", "c")),
        node("Slice", ["x.shape", "two", "four"], ["size"]),
        node("Slice", ["c.shape", "zero", "two"], ["channels"]),
        node("Concat", ["channels", "size"], ["all"], axis=0),
        node("Resize", ["c", "", "", "all"], ["y"], mode="linear"),
    ]
    constants = WEIGHTS | {"zero": ints(0), "two": ints(2), "four": ints(4)}
    found = steps_of(model(nodes, constants, shape=["n", 8, "h", "w"]), (33, 64))
    assert [n.op_type for n in found.nodes] == ["Conv", "Resize"]
    assert found.shapes["y"] == (1, 8, 33, 64)


def test_a_part_of_a_shape() -> None:
    nodes = [
        node("Shape", ["x"], ["size"], start=2),
        node("Concat", ["head", "size"], ["all"], axis=0),
        node("Expand", ["one", "all"], ["e"]),
        CONV,
        node("Add", ["c", "e"], ["y"]),
    ]
    constants = WEIGHTS | {"head": ints(1, 8), "one": np.ones((1, 8, 1, 1), np.float32)}
    found = steps_of(model(nodes, constants))
    assert [n.op_type for n in found.nodes] == ["Conv", "Add"]
    assert found.constants["e"].shape == MAP


def test_sizes_that_the_image_decides_are_refused() -> None:
    nodes = [CONV, node("NonZero", ["c"], ["i"]), node("Cast", ["i"], ["y"], to=TensorProto.FLOAT)]
    with pytest.raises(InvalidGraph, match=r"NonZero i: the shape of i depends on what the network computes"):
        steps_of(model(nodes))


def test_parameters_are_attributes_in_older_opsets() -> None:
    older = [CONV, node("Clip", ["c"], ["y"], min=0.0, max=6.0)]
    newer = [CONV, node("Clip", ["c", "low", "high"], ["y"])]
    limits = {"low": np.float32(0), "high": np.float32(6)}
    for made in (model(older, opset=9), model(newer, WEIGHTS | limits)):
        found = steps_of(made)
        clip = found.nodes[1]
        assert (found.setting(clip, "min", 1), found.setting(clip, "max", 2)) == ([0], [6])
        assert found.setting(clip, "other", 5) is None


def test_sizes_are_computed_as_their_opset_says() -> None:
    """``Unsqueeze`` has its axes as an attribute up to opset 12, as an input since."""
    for opset, axes, more in ((11, {"axes": [0]}, []), (18, {}, ["zero"])):
        nodes = [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "three"], ["width"]),
            node("Unsqueeze", ["width", *more], ["w1"], **axes),
            node("Concat", ["head", "w1", "minus"], ["all"], axis=0),
            CONV,
            node("Reshape", ["c", "all"], ["y"]),
        ]
        numbers = {"three": np.int64(3), "head": ints(1, 8), "minus": ints(-1), "zero": ints(0)}
        found = steps_of(model(nodes, WEIGHTS | numbers, opset=opset))
        assert found.shapes["y"] == (1, 8, 32, 16)
