"""Transposed convolutions run as ordinary ones, with onnxruntime's numbers."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cost_models.lowering.pipeline import compile_lowered, kernels, lower
from cost_models.tvm_import import relax, tvm

from ..onnx_models import random
from ..two_runtimes import run_onnx

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
FORMS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {  # weights of 4 channels, attributes
    "doubled": ((4, 3, 2, 2), {"strides": [2, 2]}),
    "smoothed": ((4, 3, 4, 4), {"strides": [2, 2], "pads": [1] * 4}),
    "enet": ((4, 3, 3, 3), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}),
    "bilinear": ((4, 1, 16, 16), {"strides": [8, 8], "pads": [4] * 4, "group": 4}),
    "grouped": ((4, 2, 5, 4), {"strides": [3, 2], "pads": [0, 1, 2, 0], "group": 2}),
    "gaps": ((4, 2, 1, 1), {"strides": [2, 2], "output_padding": [1, 1]}),
    "plain": ((4, 5, 3, 3), {"pads": [1] * 4}),
    "same": ((4, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
}


def model(nodes: list[NodeProto], weights: dict[str, Any], *results: str) -> onnx.ModelProto:
    """From ``x``, a map of 4x5x7."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 5, 7))],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in results],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def names(lowered: Any) -> str:
    return " ".join(kernels(lowered))


def assert_agrees(made: onnx.ModelProto, lowered: Any) -> None:
    compiled, x = compile_lowered(lowered, TARGET, {}), random(1, 4, 5, 7)
    found = relax.VirtualMachine(compiled.executable, tvm.cpu())["main"](tvm.runtime.tensor(x))
    found = [found] if hasattr(found, "numpy") else found
    for ours, theirs in zip(found, run_onnx(made, {"x": x}), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_all_forms_are_right() -> None:
    nodes = [
        helper.make_node("ConvTranspose", ["x", f"{name}.w", f"{name}.b"], [name], **attributes)
        for name, (_, attributes) in FORMS.items()
    ]
    nodes.append(helper.make_node("Relu", ["enet"], ["active"]))
    nodes.append(helper.make_node("Concat", ["active", "smoothed"], ["joined"], axis=1))
    weights = {f"{name}.w": random(*shape) for name, (shape, _) in FORMS.items()}
    weights |= {
        f"{name}.b": random(shape[1] * attributes.get("group", 1))
        for name, (shape, attributes) in FORMS.items()
    }
    rest = [name for name in FORMS if name not in ("enet", "smoothed")]
    made = model(nodes, weights, "joined", *rest)
    lowered = lower(made, TARGET)
    assert "transpose" not in names(lowered)
    assert len([name for name in kernels(lowered) if name.startswith("conv2d")]) >= 7
    assert_agrees(made, lowered)


def test_weights_that_are_computed() -> None:
    nodes = [
        helper.make_node("Mul", ["w", "x0"], ["v"]),
        helper.make_node("ConvTranspose", ["x", "v"], ["y"], strides=[2, 2], pads=[1, 0, 1, 0]),
    ]
    first = [helper.make_node("ReduceMean", ["x"], ["x0"], keepdims=0)]
    made = model(first + nodes, {"w": random(4, 3, 3, 3)}, "y")
    lowered = lower(made, TARGET)
    assert "conv2d_transpose" not in names(lowered)
    assert_agrees(made, lowered)


@pytest.mark.parametrize("dilation", [2])
def test_gaps_in_the_kernel_are_left_to_tvm(dilation: int) -> None:
    up = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], dilations=[dilation] * 2)
    assert "conv2d_transpose" in names(lower(model([up], {"w": random(4, 3, 3, 3)}, "y"), TARGET))
