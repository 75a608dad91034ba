"""Weights that are large, missing or inputs; old opsets; functions without end; types; texts."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.importer import Imported, read_onnx
from cost_models.onnx_io.model_file import MOST_NODES, load

from ..onnx_models import CONV, MAP, WEIGHTS, model, node, random

RELU = node("Relu", ["c"], ["y"])
LARGE = {"w": random(64, 8, 3, 3)}  # more than a size can have


def saved(folder: Path, made: onnx.ModelProto) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def read(folder: Path, made: onnx.ModelProto) -> Imported:
    return read_onnx(saved(folder, made))


def refused(folder: Path, made: onnx.ModelProto, words: str) -> None:
    with pytest.raises(InvalidGraph, match=rf"net\.onnx: .*{re.escape(words)}") as caught:
        read(folder, made)
    assert "\n" not in str(caught.value)


def test_large_weights_are_left_where_they_are(tmp_path: Path) -> None:
    loaded = load(saved(tmp_path, model([CONV, RELU], LARGE)))
    assert loaded.weights == {"w"}
    assert loaded.proto.ByteSize() < 1000
    assert loaded.notes == ()


def emptied(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].ClearField("raw_data")


def elsewhere(made: onnx.ModelProto) -> None:
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="lost.bin")


def in_a_node(made: onnx.ModelProto) -> None:
    elsewhere(made)
    tensor = made.graph.initializer.pop()
    made.graph.node.insert(0, node("Constant", [], [tensor.name], value=tensor))


@pytest.mark.parametrize("lose", [emptied, elsewhere, in_a_node])
@pytest.mark.parametrize("constants", [WEIGHTS, LARGE])
def test_weights_that_are_not_there_are_told_by_their_shapes(
    lose: object, constants: dict[str, object], tmp_path: Path
) -> None:
    whole = read(tmp_path, made := model([CONV, RELU], constants))
    lose(made)  # type: ignore[operator]
    told = read(tmp_path, made)
    assert (told.graph, told.inputs) == (whole.graph, whole.inputs)
    assert told.notes == ("weights are not there (w): told by their shapes",)


def test_weights_that_are_inputs_are_weights(tmp_path: Path) -> None:
    pool = [node("GlobalAveragePool", ["c"], ["p"]), node("Flatten", ["p"], ["f"])]
    nodes = [*pool, node("MatMul", ["f", "m"], ["s"]), node("Add", ["s", "b"], ["y"])]
    moved = [node("Identity", ["w0"], ["w"]), CONV]
    constants = {"w0": LARGE["w"], "m": random(64, 4), "b": random(4)}
    made = model([*moved, *nodes], constants)
    whole = read(tmp_path, made)
    for tensor in made.graph.initializer:
        made.graph.input.append(helper.make_tensor_value_info(tensor.name, 1, tensor.dims))
    del made.graph.initializer[:]
    told = read(tmp_path, made)
    assert (told.graph, told.inputs) == (whole.graph, {"x": MAP})
    assert told.notes == ("weights are inputs (w0 and 2 more): counted as weights",)


def test_a_second_image_is_no_weight(tmp_path: Path) -> None:
    made = model([CONV, node("Add", ["c", "z"], ["y"])])
    made.graph.input.append(helper.make_tensor_value_info("z", 1, MAP))
    assert set(read(tmp_path, made).inputs) == {"x", "z"}


def test_sparse_weights_have_the_shape_of_full_ones(tmp_path: Path) -> None:
    made = model([CONV, RELU])
    whole = read(tmp_path, made)
    dense = made.graph.initializer.pop()
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("at", TensorProto.INT64, [1], [0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dense.dims))
    assert read(tmp_path, made).graph == whole.graph


@pytest.mark.parametrize("bytes_", [b"1234", b"12345"])
def test_damaged_weights_are_refused(bytes_: bytes, tmp_path: Path) -> None:
    made = model([CONV, RELU], LARGE)
    made.graph.initializer[0].raw_data = bytes_
    refused(tmp_path, made, f"its weights are damaged: ValueError: w has {len(bytes_)} bytes of 18432")


def test_results_and_inputs_need_no_shape_of_their_own(tmp_path: Path) -> None:
    made = model([CONV, RELU])
    whole = read(tmp_path, made)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    assert read(tmp_path, made) == whole
    made.graph.output[0].ClearField("type")
    assert read(tmp_path, made) == whole
    made.graph.input[0].type.tensor_type.ClearField("shape")
    refused(tmp_path, made, "input x has no shape; export it with one")


def test_old_opsets_are_converted(tmp_path: Path) -> None:
    norm = node("BatchNormalization", ["c", *"smvv"], ["n"], is_test=1, consumed_inputs=[0, 0, 0, 1, 1])
    made = model([CONV, node("Relu", ["c"], ["y"])], opset=7)
    old = helper.make_model(made.graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    old.graph.input.extend(helper.make_tensor_value_info(t.name, 1, t.dims) for t in old.graph.initializer)
    told = read(tmp_path, old)
    assert told.notes == ("converted from opset 6",)
    assert [type(n.op).__name__ for n in told.graph.nodes] == ["Conv2d", "Activation"]
    old.graph.node.append(norm)  # which opset 6 does not have like this
    refused(tmp_path, old, "not valid ONNX")


def functions(bodies: Sequence[tuple[str, Sequence[str]]]) -> onnx.ModelProto:
    """A convolution and the first function; each has a name and calls others in turn."""
    made = model([CONV, node("Relu", ["c"], ["y"])])
    made.graph.node[1].CopyFrom(node(bodies[0][0], ["c"], ["y"], domain="own"))
    made.opset_import.append(helper.make_opsetid("own", 1))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for name, calls in bodies:
        values = ["a", *(f"v{index}" for index in range(len(calls)))]
        body = [
            node(kind, [before], [after], domain="" if kind == "Relu" else "own")
            for kind, before, after in zip(calls, values, values[1:], strict=False)
        ]
        made.functions.append(helper.make_function("own", name, ["a"], [values[-1]], body, opsets))
    return made


def test_functions_that_call_each_other_without_end_are_refused(tmp_path: Path) -> None:
    doubling = [(f"f{index}", [f"f{index + 1}"] * 2) for index in range(40)]
    refused(tmp_path, functions([*doubling, ("f40", ["Relu"])]), f"operations; allowed are {MOST_NODES:,}")
    refused(tmp_path, functions([("f", ["f"])]), "a function calls itself")
    refused(tmp_path, functions([("f", ["g"]), ("g", ["f"])]), "a function calls itself")
    told = read(tmp_path, functions([("f", ["g", "g"]), ("g", ["Relu"])]))
    assert len(told.graph.nodes) == 3


def test_more_operations_than_a_network_has_are_refused(tmp_path: Path) -> None:
    made = model([CONV, RELU])
    made.graph.node.extend([made.graph.node[1]] * MOST_NODES)
    refused(tmp_path, made, f"20,002 operations; allowed are {MOST_NODES:,}")


@pytest.mark.parametrize("kind", ["RegexFullMatch", "StringSplit"])
def test_operations_on_texts_are_refused_unread(kind: str, tmp_path: Path) -> None:
    made = model([CONV, RELU], opset=20)
    pattern = {"pattern": "(a+)+$"} if kind == "RegexFullMatch" else {}
    outputs = ["t"] if kind == "RegexFullMatch" else ["t", "n"]
    made.graph.node.append(node(kind, ["k"], outputs, **pattern))
    made.graph.initializer.append(helper.make_tensor("k", TensorProto.STRING, [1], [b"a" * 40 + b"b"]))
    refused(tmp_path, made, f"{kind} works on texts")


def test_a_deep_chain_is_read_in_time(tmp_path: Path) -> None:
    chain = [node("Relu", [f"v{index}"], [f"v{index + 1}"]) for index in range(1500)]
    made = model([node("Conv", ["x", "w"], ["v0"]), RELU])
    del made.graph.node[:]
    made.graph.node.extend([node("Conv", ["x", "w"], ["v0"]), *chain, node("Relu", ["v1500"], ["y"])])
    assert len(read(tmp_path, made).graph.nodes) == 1502


def test_the_type_of_a_network_is_that_of_its_maps(tmp_path: Path) -> None:
    half = {"w": WEIGHTS["w"].astype(np.float16)}
    made = model([CONV, RELU], half, dtype=TensorProto.FLOAT16)
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert read(tmp_path, made).dtype == "float16"
    assert read(tmp_path, model([CONV, RELU])).dtype == "float32"
