"""What others compute beside convolutions: ONNX nodes at small sizes, ragged ones among them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node


@dataclass(frozen=True)
class Case:
    """Nodes from inputs to a result, all named ``CASE.part``, spaces as underlines.

    Attributes:
        kernel: part of the name of the kernel that is looked at.
        blocks: that its schedule must have: those of the template that it is for.
    """

    nodes: list[Any]
    inputs: Mapping[str, tuple[int, ...]]
    kernel: str
    blocks: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)


def product(left: tuple[int, ...], right: tuple[int, ...]) -> Case:
    return Case([node("MatMul", ["a", "b"], ["y"])], {"a": left, "b": right}, "matmul", ("product", "out"))


def one(kind: str, shape: tuple[int, ...], kernel: str, *blocks: str, **attributes: Any) -> Case:
    return Case([node(kind, ["a"], ["y"], **attributes)], {"a": shape}, kernel, blocks)


def einsum(equation: str, left: tuple[int, ...], right: tuple[int, ...]) -> Case:
    (case,) = [product(left, right)]
    return Case([node("Einsum", ["a", "b"], ["y"], equation=equation)], case.inputs, "einsum", case.blocks)


def layer_norm(*shape: int) -> Case:
    weights = {"w": random(shape[-1]), "o": random(shape[-1])}
    return Case(
        [node("LayerNormalization", ["a", "w", "o"], ["y"], axis=-1)],
        {"a": shape},
        "layer_norm",
        ("_var_sum",),
        weights,
    )


def resized(
    mode: str, before: tuple[int, int], after: tuple[int, int], first: str, **attributes: Any
) -> Case:
    """A resize with the step along or between rows first."""
    sizes = {"k": np.array([1, 3, *after])}
    nodes = [node("Resize", ["a", "", "", "k"], ["y"], mode=mode, **attributes)]
    return Case(nodes, {"a": (1, 3, *before)}, "resize", (first, "columns", "weights"), sizes)


def random(*shape: int) -> Any:
    return np.random.default_rng(2).standard_normal(shape).astype("float32")


GELU = [
    node("Div", ["m", "r"], ["d"]),
    node("Erf", ["d"], ["e"]),
    node("Add", ["e", "o"], ["f"]),
    node("Mul", ["m", "f"], ["g"]),
    node("Mul", ["g", "h"], ["y"]),
]
CASES: dict[str, Case] = {
    "square": product((32, 48), (48, 64)),
    "ragged": product((37, 19), (19, 53)),
    "one row": product((1, 40), (40, 96)),
    "one column": product((9, 40), (40, 1)),
    "one value": product((1, 3), (3, 1)),
    "batches": product((2, 3, 17, 8), (2, 3, 8, 33)),
    "shared": product((2, 3, 17, 8), (8, 33)),
    "spread": product((1, 3, 5, 8), (2, 1, 8, 21)),
    "transposed": einsum("bpc,bkc->bkp", (2, 18, 7), (2, 5, 7)),
    "two sums": einsum("bhwc,dwc->bhd", (1, 6, 3, 4), (18, 3, 4)),
    "linear and gelu": Case(
        [node("MatMul", ["a", "w"], ["p"]), node("Add", ["p", "b"], ["m"]), *GELU],
        {"a": (1, 21, 12)},
        "matmul",
        ("product", "out"),
        {
            "w": random(12, 40),
            "b": random(40),
            "r": np.float32(2**0.5),
            "o": np.float32(1),
            "h": np.float32(0.5),
        },
    ),
    "softmax": one("Softmax", (2, 5, 32), "softmax", "softmax_sum_rf", "softmax_exp", axis=-1),
    "ragged softmax": one("Softmax", (2, 5, 37), "softmax", "softmax_sum", "softmax_exp", axis=-1),
    "long softmax": one("Softmax", (3, 1024), "softmax", "softmax_sum_rf", axis=-1),
    "classes": one("Softmax", (1, 7, 5, 48), "softmax", "softmax_sum", "softmax_exp", axis=1),
    "ragged classes": one("Softmax", (2, 7, 5, 13), "softmax", "softmax_sum", axis=1),
    "tokens": layer_norm(2, 9, 32),
    "ragged tokens": layer_norm(9, 13),
    "groups": Case(
        [node("GroupNormalization", ["a", "w", "o"], ["y"], num_groups=3)],
        {"a": (2, 12, 5, 8)},
        "group_norm",
        ("group_sum", "group_squares"),
        {"w": random(12), "o": random(12)},
    ),
    "instances": Case(
        [node("InstanceNormalization", ["a", "w", "o"], ["y"])],
        {"a": (2, 3, 50)},
        "variance",
        (),
        {"w": random(3), "o": random(3)},
    ),
    "window": one("MaxPool", (2, 3, 11, 32), "pool", "between", "along", kernel_shape=[5, 5], pads=[2] * 4),
    "ragged window": one(
        "MaxPool", (1, 3, 19, 23), "pool", "between", kernel_shape=[3, 9], pads=[1, 4, 0, 2], strides=[2, 3]
    ),
    "whole window": one("MaxPool", (1, 2, 7, 9), "pool", "between", kernel_shape=[7, 9]),
    "pixels": one("DepthToSpace", (1, 12, 3, 8), "reshape", "out", blocksize=2, mode="CRD"),
    "pixels of three": one("DepthToSpace", (1, 18, 3, 5), "reshape", "out", blocksize=3),
    "channels": one("SpaceToDepth", (1, 3, 6, 16), "reshape", blocksize=2),
    "to tokens": one("Transpose", (1, 24, 35), "transpose", "out", perm=[0, 2, 1]),
    "ragged to tokens": one("Transpose", (2, 11, 13), "transpose", "out", perm=[0, 2, 1]),
    "mean of a row": Case(
        [node("ReduceMean", ["a", "k"], ["y"])], {"a": (3, 5, 64)}, "mean", (), {"k": np.array([-1])}
    ),
    "nearest": Case(
        [node("Resize", ["a", "", "", "k"], ["y"], mode="nearest")],
        {"a": (1, 3, 5, 7)},
        "resize",
        (),
        {"k": np.array([1, 3, 10, 21])},
    ),
    "nearest, uneven": resized(
        "nearest",
        (5, 7),
        (8, 33),
        "along",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "linear": resized("linear", (5, 6), (11, 7), "between"),
    "linear to wide rows": resized("linear", (5, 7), (10, 40), "along"),
    "linear of corners": resized(
        "linear", (6, 9), (11, 65), "along", coordinate_transformation_mode="align_corners"
    ),
    "linear to fewer": resized("linear", (24, 40), (7, 21), "between"),
    "linear of one column": resized("linear", (4, 1), (9, 34), "along"),
    "cubic": resized("cubic", (5, 6), (11, 7), "between", cubic_coeff_a=-0.75),
    "cubic to wide rows": resized("cubic", (5, 7), (9, 40), "along", cubic_coeff_a=-0.5),
    "cubic of corners": resized(
        "cubic", (6, 9), (12, 64), "along", coordinate_transformation_mode="align_corners"
    ),
    "cubic to fewer": resized(
        "cubic", (24, 40), (6, 20), "between", coordinate_transformation_mode="half_pixel"
    ),
}


def whole_model(cases: Mapping[str, Case], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """One model of all cases, side by side: one build."""
    nodes, inputs, outputs, constants = list[Any](), list[Any](), list[Any](), list[Any]()
    for title, case in cases.items():
        name = title.replace(" ", "_")  # a name in C, too
        for part in case.nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(part)
            copy.input[:] = [key and f"{name}.{key}" for key in part.input]
            copy.output[:] = [f"{name}.{key}" for key in part.output]
            nodes.append(copy)
        shapes = case.inputs.items()
        inputs += [helper.make_tensor_value_info(f"{name}.{key}", dtype, shape) for key, shape in shapes]
        untold = case.inputs["a"] if case.nodes[-1].op_type == "GroupNormalization" else None
        outputs.append(helper.make_tensor_value_info(f"{name}.y", dtype, untold))
        values = {
            key: value.astype(helper.tensor_dtype_to_np_dtype(dtype)) if value.dtype == np.float32 else value
            for key, value in ((k, np.asarray(v)) for k, v in case.constants.items())
        }
        constants += [numpy_helper.from_array(value, f"{name}.{key}") for key, value in values.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)
