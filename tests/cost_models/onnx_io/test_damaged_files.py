"""Damaged and strange ONNX files end in one line, whatever is wrong with them."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from onnx import AttributeProto, NodeProto, TensorProto, helper

from cost_models.errors import InvalidGraph
from cost_models.onnx_io.importer import from_onnx, read_onnx

from ..onnx_models import CONV, WEIGHTS, ints, model, node, random

NUMBERS = {"k": ints(1, 8, -1), "three": ints(3)[0], "t": random(8, 4, 2, 2), "g": random(8)}
WHOLE = model(
    [
        CONV,
        node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("ConvTranspose", ["p", "t"], ["u"], strides=[2, 2]),
        node("SplitToSequence", ["u", "three"], ["q"], axis=1),
        node("ConcatFromSequence", ["q"], ["j"], axis=1),
        node("Resize", ["j", "", "s"], ["r"], mode="cubic"),
        node("ReduceMean", ["r"], ["m"], keepdims=0),
        node("Reshape", ["c", "k"], ["f"]),
        node("Einsum", ["f", "f"], ["e"], equation="bcn,bcm->bnm"),
        node("Add", ["e", "m"], ["y"]),
    ],
    WEIGHTS | NUMBERS | {"s": random(4) * 0 + [1, 1, 2, 2]},
)
CONTENT = WHOLE.SerializeToString()
SIZES = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 9)
VALUES = st.one_of(
    SIZES, st.lists(SIZES, max_size=6), st.floats(), st.text(max_size=20), st.binary(max_size=9)
)

long = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def told(read: Any) -> None:
    """Reads, or says in a short line why not."""
    said = ""
    try:
        read()
    except InvalidGraph as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 1000


@pytest.mark.slow
@seed(0)
@long
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.binary(max_size=4)), min_size=1, max_size=4))
def test_changed_bytes(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(CONTENT)
    for place, new in changes:
        content[place : place + len(new)] = new
    path: Path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(content)
    told(lambda: read_onnx(path))


def changed(nodes: list[NodeProto], draw: Any) -> None:
    chosen = nodes[draw(st.integers(0, len(nodes) - 1))]
    what = draw(st.sampled_from(["attribute", "type", "input", "inputs", "kind"]))
    names = [key for one in WHOLE.graph.node for key in one.output]
    if what == "attribute":
        usual = [attribute.name for attribute in chosen.attribute] or ["axis"]
        name = draw(st.sampled_from(usual))
        kept = [attribute for attribute in chosen.attribute if attribute.name != name]
        del chosen.attribute[:]
        with contextlib.suppress(TypeError, ValueError):  # an empty list has no type
            chosen.attribute.extend([*kept, helper.make_attribute(name, draw(VALUES))])
    elif what == "type" and chosen.attribute:
        chosen.attribute[0].type = draw(st.sampled_from(AttributeProto.AttributeType.values()))
    elif what == "input" and chosen.input:
        chosen.input[draw(st.integers(0, len(chosen.input) - 1))] = draw(st.sampled_from(["", "x", *names]))
    elif what == "inputs":
        del chosen.input[draw(st.integers(0, len(chosen.input))) :]
    else:
        chosen.op_type = draw(st.sampled_from([one.op_type for one in WHOLE.graph.node]))


@pytest.mark.slow
@seed(0)
@long
@given(st.data(), st.integers(1, 3))
def test_changed_nodes(data: Any, times: int) -> None:
    """Without ONNX's checker before, which finds many of them."""
    made = type(WHOLE)()
    made.CopyFrom(WHOLE)
    for _ in range(times):
        changed(list(made.graph.node), data.draw)
    told(lambda: from_onnx(made, name="changed.onnx"))


@pytest.mark.slow
@seed(0)
@long
@given(st.data())
def test_changed_tensors_and_inputs(data: Any) -> None:
    made = type(WHOLE)()
    made.CopyFrom(WHOLE)
    tensor = made.graph.initializer[data.draw(st.integers(0, len(made.graph.initializer) - 1))]
    what = data.draw(st.sampled_from(["dims", "type", "data", "input"]))
    if what == "dims":
        tensor.dims[:] = data.draw(st.lists(SIZES, max_size=5))
    elif what == "type":
        tensor.data_type = data.draw(st.sampled_from(TensorProto.DataType.values()))
    elif what == "data":
        tensor.raw_data = data.draw(st.binary(max_size=40))
    else:
        dims = made.graph.input[0].type.tensor_type.shape.dim
        dims[data.draw(st.integers(0, 3))].dim_value = data.draw(SIZES)
    told(lambda: from_onnx(made, name="changed.onnx"))
