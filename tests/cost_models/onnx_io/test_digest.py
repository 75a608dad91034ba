"""Which networks are the same: those whose kernels are."""

from typing import Any

import numpy as np
import onnx

from cost_models.onnx_io.importer import from_onnx

from ..onnx_models import CONV, WEIGHTS, ints, model, node, random

CLIP = node("Clip", ["c", "low", "high"], ["y"], name="clip")
ENDS = {"low": np.float32(0), "high": np.float32(6)}


def digest(made: onnx.ModelProto) -> str:
    return from_onnx(made, name="net.onnx").digest


def clipped(nodes: Any = (CONV, CLIP), changes: Any = None, **options: Any) -> str:
    return digest(model(list(nodes), WEIGHTS | ENDS | (changes or {}), **options))


def test_names_and_values_of_weights_do_not_matter() -> None:
    first = clipped()
    assert len(first) == 32
    assert clipped(changes={"w": random(8, 8, 3, 3) + 1}) == first
    renamed = node("Conv", ["x", "w"], ["other"], pads=[1, 1, 1, 1], name="renamed")
    assert clipped([renamed, node("Clip", ["other", "low", "high"], ["y"])]) == first


def test_layers_sizes_types_and_constants_do() -> None:
    wider = node("Conv", ["x", "w"], ["c"], pads=[0, 0, 0, 0], name="first")
    found = [
        clipped(),
        clipped([wider, CLIP]),
        clipped(changes={"high": np.float32(5)}),
        clipped(changes={"w": random(4, 8, 3, 3)}),
        clipped(shape=(1, 8, 16, 64)),
        clipped(shape=(2, 8, 16, 32)),
        clipped(opset=17),
        clipped([CONV, node("Relu", ["c"], ["y"])]),
        clipped([CONV, node("Add", ["c", "x"], ["y"])]),
        clipped([CONV, node("Add", ["x", "c"], ["y"])]),
    ]
    assert len(set(found)) == len(found)


def test_what_two_outputs_are_matters() -> None:
    nodes = [CONV, node("Split", ["c", "parts"], ["y", "z"], axis=1)]
    made = model(nodes, WEIGHTS | {"parts": ints(4, 4)})
    one = digest(made)
    made.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    assert digest(made) != one
