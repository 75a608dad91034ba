"""Models of one operator each, at sizes that segmentation networks have: what ``operators.py`` runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 18
Shape = tuple[int, ...]


@dataclass(frozen=True)
class OperatorModel:
    """Nodes from inputs ``x0``, ``x1`` ... to the output ``y``.

    Attributes:
        shapes: of the inputs.
        constants: weights and sizes by name.
        macs: multiply-adds that the operator needs.
    """

    nodes: Sequence[NodeProto]
    shapes: Sequence[Shape]
    constants: Mapping[str, Any]
    macs: int = 0
    opset: int = OPSET

    def proto(self) -> onnx.ModelProto:
        """As ONNX."""
        inputs = [
            helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape)
            for i, shape in enumerate(self.shapes)
        ]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        weights = [numpy_helper.from_array(np.asarray(value), key) for key, value in self.constants.items()]
        graph = helper.make_graph(list(self.nodes), "operator", inputs, [output], weights)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)

    def inputs(self) -> dict[str, Any]:
        """Random ones, by name."""
        rng = np.random.default_rng(1)
        return {f"x{i}": rng.standard_normal(shape, np.float32) for i, shape in enumerate(self.shapes)}

    @property
    def moved_bytes(self) -> int:
        """Inputs, weights and results, once each."""
        made = self.proto().graph.output[0].type.tensor_type.shape.dim
        sizes = [math.prod(shape) for shape in self.shapes]
        sizes += [
            value.size for value in map(np.asarray, self.constants.values()) if value.dtype == np.float32
        ]
        sizes.append(math.prod(side.dim_value for side in made))
        return 4 * sum(sizes)


def _random(*shape: int) -> Any:
    values = np.random.default_rng(0).standard_normal(shape)
    return (values / math.sqrt(math.prod(shape[1:]) or 1)).astype(np.float32)


def _one(kind: str, *shapes: Shape, macs: int = 0, opset: int = OPSET, **attributes: Any) -> OperatorModel:
    names = [f"x{i}" for i in range(len(shapes))]
    return OperatorModel([helper.make_node(kind, names, ["y"], **attributes)], shapes, {}, macs, opset)


def transposed(
    channels: int,
    outputs: int,
    side: Shape,
    kernel: int,
    stride: int,
    cut: int,
    *,
    more: int = 0,
    groups: int = 1,
) -> OperatorModel:
    """ConvTranspose without zeros between pixels: each input pixel meets each weight once."""
    node = helper.make_node(
        "ConvTranspose",
        ["x0", "w", "b"],
        ["y"],
        strides=[stride] * 2,
        pads=[cut] * 4,
        output_padding=[more] * 2,
        group=groups,
    )
    weights = {"w": _random(channels, outputs // groups, kernel, kernel), "b": _random(outputs)}
    macs = channels * math.prod(side) * outputs // groups * kernel**2
    return OperatorModel([node], [(1, channels, *side)], weights, macs)


def convolved(
    channels: int, height: int, width: int, kernel: int, outputs: int = 0, stride: int = 2
) -> OperatorModel:
    """A convolution with bias and ReLU: depthwise, or dense to so many outputs."""
    groups, outputs = (1, outputs) if outputs else (channels, channels)
    pads = [kernel // 2] * 4
    nodes = [
        helper.make_node("Conv", ["x0", "w", "b"], ["p"], strides=[stride] * 2, pads=pads, group=groups),
        helper.make_node("Relu", ["p"], ["y"]),
    ]
    weights = {"w": _random(outputs, channels // groups, kernel, kernel), "b": _random(outputs)}
    pixels = math.ceil(height / stride) * math.ceil(width / stride)
    macs = outputs * pixels * channels // groups * kernel**2
    return OperatorModel(nodes, [(1, channels, height, width)], weights, macs)


def product(*sides: int, batch: Shape = ()) -> OperatorModel:
    """Rows, depth and columns of two matrices, both of them inputs."""
    rows, depth, columns = sides
    macs = math.prod(batch) * rows * depth * columns
    return _one("MatMul", (*batch, rows, depth), (*batch, depth, columns), macs=macs)


def linear(tokens: int, inputs: int, outputs: int) -> OperatorModel:
    """A linear layer of a transformer, with its bias."""
    nodes = [
        helper.make_node("MatMul", ["x0", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    weights = {"w": _random(inputs, outputs), "b": _random(outputs)}
    return OperatorModel(nodes, [(1, tokens, inputs)], weights, tokens * inputs * outputs)


def attention(heads: int, queries: int, keys: int, depth: int) -> OperatorModel:
    """Softmax of scaled products, and the sum of values by it."""
    nodes = [
        helper.make_node("Transpose", ["x1"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["x0", "t"], ["p"]),
        helper.make_node("Mul", ["p", "s"], ["m"]),
        helper.make_node("Softmax", ["m"], ["a"], axis=-1),
        helper.make_node("MatMul", ["a", "x2"], ["y"]),
    ]
    shapes = [(1, heads, queries, depth), (1, heads, keys, depth), (1, heads, keys, depth)]
    return OperatorModel(nodes, shapes, {"s": np.float32(depth**-0.5)}, 2 * heads * queries * keys * depth)


def resized(mode: str, shape: Shape, factor: int, **attributes: Any) -> OperatorModel:
    sizes = np.array([*shape[:2], *(side * factor for side in shape[2:])], np.int64)
    node = helper.make_node("Resize", ["x0", "", "", "k"], ["y"], mode=mode, **attributes)
    return OperatorModel([node], [shape], {"k": sizes})


def gelu(shape: Shape) -> OperatorModel:
    """As PyTorch's exporter writes it."""
    nodes = [
        helper.make_node("Div", ["x0", "r"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "o"], ["a"]),
        helper.make_node("Mul", ["x0", "a"], ["m"]),
        helper.make_node("Mul", ["m", "h"], ["y"]),
    ]
    constants = {"r": np.float32(math.sqrt(2)), "o": np.float32(1), "h": np.float32(0.5)}
    return OperatorModel(nodes, [shape], constants)


def group_norm(shape: Shape, groups: int) -> OperatorModel:
    """As PyTorch's exporter writes it: instances of groups, then a factor and a summand of each channel."""
    nodes = [
        helper.make_node("Reshape", ["x0", "k"], ["g"]),
        helper.make_node("InstanceNormalization", ["g", "one", "zero"], ["i"]),
        helper.make_node("Reshape", ["i", "l"], ["r"]),
        helper.make_node("Mul", ["r", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    constants = {
        "k": np.array([shape[0], groups, -1]),
        "l": np.array(shape),
        "one": np.ones(groups, np.float32),
        "zero": np.zeros(groups, np.float32),
        "w": _random(1, shape[1], 1, 1),
        "b": _random(1, shape[1], 1, 1),
    }
    return OperatorModel(nodes, [shape], constants)


def layer_norm(shape: Shape) -> OperatorModel:
    node = helper.make_node("LayerNormalization", ["x0", "w", "b"], ["y"], axis=-1)
    return OperatorModel([node], [shape], {"w": _random(shape[-1]), "b": _random(shape[-1])})


def prelu(shape: Shape) -> OperatorModel:
    node = helper.make_node("PRelu", ["x0", "w"], ["y"])
    return OperatorModel([node], [shape], {"w": _random(shape[1], 1, 1)})


def relu6(shape: Shape) -> OperatorModel:
    node = helper.make_node("Clip", ["x0", "a", "b"], ["y"])
    return OperatorModel([node], [shape], {"a": np.float32(0), "b": np.float32(6)})


def max_pool(shape: Shape, kernel: int, stride: int = 1) -> OperatorModel:
    pads = [kernel // 2] * 4
    return _one("MaxPool", shape, kernel_shape=[kernel] * 2, pads=pads, strides=[stride] * 2)


MAP: Shape = (1, 64, 64, 128)
DEPTHWISE = (  # of stride 2 in LAT-Small, MAC-Small and MobileNetV3-Large at 512x1024 and 256x512
    *((3, shape) for shape in ((16, 256, 512), (64, 256, 512), (96, 128, 256), (240, 64, 128))),
    *((5, shape) for shape in ((72, 128, 256), (96, 128, 256), (144, 64, 128))),
    *((3, shape) for shape in ((16, 128, 256), (64, 128, 256), (96, 64, 128), (240, 32, 64))),
    *((5, shape) for shape in ((72, 64, 128), (96, 64, 128), (144, 32, 64))),
)
UNSTRIDED = (  # (kernel, (channels, height, width)), of the same at 512x1024
    *((3, shape) for shape in ((144, 64, 128), (64, 256, 512), (288, 32, 64))),
    *((5, shape) for shape in ((120, 64, 128), (240, 32, 64), (960, 16, 32))),
)
STEMS = ((3, 512, 1024), (3, 256, 512))  # of the same
POINTWISE = (  # channels, height, width, outputs: of these networks at 512x1024, and of 64 to 512 channels
    *((16, 256, 512, 16), (16, 256, 512, 64), (16, 128, 256, 96), (24, 128, 256, 72), (64, 128, 256, 24)),
    *((24, 64, 128, 144), (144, 64, 128, 24), (128, 64, 128, 19), (40, 64, 128, 240), (64, 64, 128, 256)),
    *((48, 32, 64, 288), (96, 32, 64, 288), (288, 32, 64, 96), (256, 32, 64, 128), (160, 32, 64, 960)),
    *((960, 32, 64, 160), (512, 16, 32, 512)),
)
DENSE = ((64, 64, 128, 64), (128, 32, 64, 128), (256, 16, 32, 256))  # of 3x3, as in ResNets
MODELS: Mapping[str, Callable[[], OperatorModel]] = {
    "peak-product": lambda: product(1024, 1024, 1024),
    "peak-sum": lambda: _one("Add", MAP, MAP),
    "transposed-2x2-s2": lambda: transposed(128, 64, (32, 64), 2, 2, 0),
    "transposed-3x3-s2": lambda: transposed(64, 64, (32, 64), 3, 2, 1, more=1),
    "transposed-4x4-s2": lambda: transposed(64, 64, (32, 64), 4, 2, 1),
    "transposed-16x16-s8-depthwise": lambda: transposed(19, 19, (32, 64), 16, 8, 4, groups=19),
    "matmul": lambda: product(256, 512, 1024),
    "matmul-ragged": lambda: product(251, 509, 1021),
    "linear": lambda: linear(2048, 64, 256),
    "matmul-batched": lambda: product(512, 32, 128, batch=(1, 5)),
    "einsum": lambda: _one(
        "Einsum", (1, 256, 512), (1, 19, 512), macs=256 * 19 * 512, equation="bpc,bkc->bkp"
    ),
    "attention": lambda: attention(2, 2048, 128, 32),
    "max-pool-5x5": lambda: max_pool(MAP, 5),
    "max-pool-9x9": lambda: max_pool(MAP, 9),
    "max-pool-17x17": lambda: max_pool((1, 64, 32, 64), 17),
    "resize-nearest": lambda: resized(
        "nearest",
        MAP,
        2,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "resize-linear-x2": lambda: resized("linear", (1, 128, 32, 64), 2),
    "resize-linear-x2-64x128": lambda: resized("linear", (1, 128, 64, 128), 2),
    "resize-linear-x8": lambda: resized("linear", (1, 19, 64, 128), 8),
    "resize-corners-x2": lambda: resized(
        "linear", (1, 128, 32, 64), 2, coordinate_transformation_mode="align_corners"
    ),
    "resize-cubic": lambda: resized("cubic", (1, 19, 64, 128), 2, cubic_coeff_a=-0.75),
    "layer-norm": lambda: layer_norm((1, 8192, 64)),
    "group-norm": lambda: group_norm(MAP, 16),
    "softmax-rows": lambda: _one("Softmax", (1, 2, 2048, 128), axis=-1),
    "softmax-channels": lambda: _one("Softmax", (1, 19, 128, 256), axis=1),
    "depth-to-space": lambda: _one("DepthToSpace", (1, 256, 64, 128), blocksize=2, mode="CRD"),
    "space-to-depth": lambda: _one("SpaceToDepth", MAP, blocksize=2),
    "transpose-to-tokens": lambda: _one("Transpose", (1, 64, 8192), perm=[0, 2, 1]),
    "relu6": lambda: relu6(MAP),
    "prelu": lambda: prelu(MAP),
    "hard-swish": lambda: _one("HardSwish", MAP),
    "gelu": lambda: gelu(MAP),
    "global-average": lambda: _one("GlobalAveragePool", MAP),
    "adaptive-average": lambda: _one("AveragePool", MAP, kernel_shape=[16, 32], strides=[16, 32]),
    "mean-of-rows": lambda: OperatorModel(
        [helper.make_node("ReduceMean", ["x0", "k"], ["y"])], [(1, 8192, 64)], {"k": np.array([-1])}
    ),
    **{
        f"strided-{kernel}x{kernel}-{'x'.join(map(str, shape))}": partial(convolved, *shape, kernel)
        for kernel, shape in DEPTHWISE
    },
    **{
        f"depthwise-{kernel}x{kernel}-{'x'.join(map(str, shape))}": partial(
            convolved, *shape, kernel, stride=1
        )
        for kernel, shape in UNSTRIDED
    },
    **{
        f"pointwise-{'x'.join(map(str, shape))}": partial(convolved, *shape[:3], 1, shape[3], 1)
        for shape in POINTWISE
    },
    **{
        f"dense-3x3-{'x'.join(map(str, shape))}": partial(convolved, *shape[:3], 3, shape[3], 1)
        for shape in DENSE
    },
    **{f"strided-stem-{'x'.join(map(str, shape))}": partial(convolved, *shape, 3, 16) for shape in STEMS},
}
"""Name -> its model."""
