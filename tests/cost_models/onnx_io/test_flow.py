"""Branches, loops and sequences that the graph itself decides are written out; others are refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.importer import from_onnx
from cost_models.onnx_io.model_file import without_weights
from cost_models.onnx_io.reader import Steps, steps

from ..onnx_models import CONV, MAP, WEIGHTS, ints, model, node

value = helper.make_tensor_value_info
TRUE = np.array(True)


def body(nodes: list[NodeProto], inputs: list[str], outputs: list[str], *tensors: Any) -> GraphProto:
    given, made = ([value(key, TensorProto.FLOAT, None) for key in keys] for keys in (inputs, outputs))
    return helper.make_graph(nodes, "body", given, made, list(tensors))


def found(nodes: list[NodeProto], constants: Any = None, opset: int = 18) -> Steps:
    made = model([CONV, *nodes], WEIGHTS | (constants or {}), opset=opset)
    return steps(without_weights(made, "net.onnx"), None, "net.onnx")


def kinds(told: Steps) -> list[str]:
    return [n.op_type for n in told.nodes if n.op_type != "Identity"]


def test_the_branch_that_sizes_choose_runs() -> None:
    branches = {
        "then_branch": body([node("Neg", ["c"], ["t"])], [], ["t"]),
        "else_branch": body([node("Exp", ["c"], ["t"]), node("NonZero", ["t"], ["lost"])], [], ["t"]),
    }
    asks = [
        node("Shape", ["c"], ["s"]),
        node("Gather", ["s", "one"], ["channels"]),
        node("Equal", ["channels", "wanted"], ["is"]),
        node("If", ["is"], ["y"], **branches),
    ]
    for wanted, kind in ((8, "Neg"), (1, "Exp")):
        told = found(asks, {"one": np.int64(1), "wanted": np.int64(wanted)})
        assert kinds(told) == ["Conv", kind]
        assert told.shapes["y"] == MAP


def test_branches_within_branches_read_from_around() -> None:
    inner = body([node("Abs", ["r"], ["i"])], [], ["i"])
    outer = body(
        [node("Relu", ["c"], ["r"]), node("If", ["t"], ["o"], then_branch=inner, else_branch=inner)],
        [],
        ["o"],
    )
    choose = node("If", ["t"], ["y"], then_branch=outer, else_branch=outer)
    assert kinds(found([choose], {"t": TRUE})) == ["Conv", "Relu", "Abs"]


def loop(count: str, goes_on: str, *extra: NodeProto) -> NodeProto:
    """Halves a map and keeps each half; ``extra`` tells ``on``, whether it goes on."""
    nodes = [node("Mul", ["v", "half"], ["w2"]), *(extra or [node("Identity", ["go"], ["on"])])]
    half = numpy_helper.from_array(np.float32([0.5]), "half")
    graph = body(nodes, ["i", "go", "v"], ["on", "w2", "w2"], half)
    return node("Loop", [count, goes_on, "c"], ["last", "y"], body=graph)


def test_a_loop_of_known_length_is_as_many_rounds() -> None:
    told = found([loop("n", "t")], {"n": np.int64(3), "t": TRUE})
    assert kinds(told)[:4] == ["Conv", "Mul", "Mul", "Mul"]
    assert told.shapes["y"] == (3, *MAP)
    told = found([loop("n", "")], {"n": np.int64(2)}, opset=11)  # axes are attributes there
    assert told.shapes["y"] == (2, *MAP)


def test_a_loop_ends_when_its_count_says_so() -> None:
    told = found([loop("", "t", node("Less", ["i", "three"], ["on"]))], {"t": TRUE, "three": np.int64(3)})
    assert kinds(told).count("Mul") == 4
    graph = from_onnx(
        model([CONV, loop("n", "t")], WEIGHTS | {"n": np.int64(2), "t": TRUE}), name="net.onnx"
    ).graph
    assert len({n.name for n in graph.nodes}) == len(graph.nodes)


@pytest.mark.parametrize(
    ("made", "constants", "words"),
    [
        (loop("", "t"), {"t": TRUE}, "Loop last: more than 1,000 rounds"),
        (
            loop("", "t", node("ReduceMax", ["v"], ["m"], keepdims=0), node("Cast", ["m"], ["on"], to=9)),
            {"t": TRUE},
            "Loop last decides while it runs how often what runs",
        ),
        (node("LSTM", ["c", "w", "w"], ["y"], hidden_size=8), {}, "LSTM y runs step by step"),
    ],
)
def test_what_the_image_decides_is_refused(made: NodeProto, constants: Any, words: str) -> None:
    with pytest.raises(InvalidGraph, match=rf"^net.onnx: {words}"):
        found([made], constants)


def test_a_scan_runs_once_for_each_row() -> None:
    graph = body([node("Relu", ["e"], ["r"])], ["e"], ["r"])
    scan = node("Scan", ["c"], ["y"], body=graph, num_scan_inputs=1, scan_input_axes=[2])
    told = found([scan])
    assert kinds(told).count("Relu") == MAP[2]
    assert told.shapes["y"] == (MAP[2], 1, 8, 32)


def test_sequences_are_their_elements() -> None:
    parts = [
        node("SplitToSequence", ["c", "three"], ["q"], axis=1),
        node("SequenceAt", ["q", "last"], ["tail"]),
        node("SequenceErase", ["q", "last"], ["r"]),
        node("SequenceInsert", ["r", "tail", "zero"], ["s"]),
        node("Identity", ["s"], ["s2"]),
        node("ConcatFromSequence", ["s2"], ["y"], axis=1),
    ]
    numbers = {"three": np.int64(3), "last": np.int64(-1), "zero": np.int64(0)}
    told = found(parts, numbers)
    assert [told.shapes[key] for key in ("q.0", "q.1", "tail")] == [(1, n, 16, 32) for n in (3, 3, 2)]
    assert list(told.makers["y"].input) == ["tail", "q.0", "q.1"]
    assert told.shapes["y"] == MAP


def test_elements_of_one_row_lose_their_axis_where_the_file_says_so() -> None:
    parts = [
        node("SplitToSequence", ["c"], ["q"], axis=1, keepdims=0),
        node("SequenceLength", ["q"], ["n"]),
        node("SequenceConstruct", ["c", "c"], ["two"]),
        node("ConcatFromSequence", ["q"], ["j"], axis=0, new_axis=1),
        node("Tile", ["j", "times"], ["y"]),
    ]
    told = found([node("SequenceEmpty", [], ["none"]), *parts], {"times": ints(1, 1, 1, 1)})
    assert int(told.constants["n"]) == 8
    assert told.shapes["q.3"] == (1, 16, 32)
    assert told.shapes["j"] == (8, 1, 16, 32)


def test_a_map_over_a_sequence_is_a_body_for_each_element() -> None:
    each = body([node("Relu", ["e"], ["r"])], ["e"], ["r"])
    parts = [
        node("SplitToSequence", ["c", "four"], ["q"], axis=1),
        node("SequenceMap", ["q"], ["m"], body=each),
        node("ConcatFromSequence", ["m"], ["y"], axis=1),
    ]
    told = found(parts, {"four": np.int64(4)})
    assert kinds(told).count("Relu") == 2
    assert told.shapes["y"] == MAP


def test_optional_values_are_there() -> None:
    taken = body([node("OptionalGetElement", ["o"], ["t"])], [], ["t"])
    lost = body([node("NonZero", ["c"], ["t"])], [], ["t"])
    asks = [
        node("Optional", ["c"], ["o"]),
        node("OptionalHasElement", ["o"], ["is"]),
        node("If", ["is"], ["y"], then_branch=taken, else_branch=lost),
    ]
    assert found(asks).shapes["y"] == MAP


def test_an_element_that_is_not_there_is_named() -> None:
    parts = [node("SequenceConstruct", ["c"], ["q"]), node("SequenceAt", ["q", "five"], ["y"])]
    with pytest.raises(InvalidGraph, match=r"^net.onnx: SequenceAt y: no element 5 of 1$"):
        found(parts, {"five": np.int64(5)})


def test_a_sequence_as_result_is_its_elements() -> None:
    made = model(
        [CONV, node("SplitToSequence", ["c", "four"], ["y"], axis=1)], WEIGHTS | {"four": np.int64(4)}
    )
    assert isinstance(made, onnx.ModelProto)
    assert from_onnx(made, name="net.onnx").graph.outputs == ("y.0", "y.1")
