"""Kernels as spaces of inverted residuals have them, for tests that need a few or a whole space."""

from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Add, ArgMax, Conv2d, Foreign, Normalize, Op, Resize, ToByte


def convolution(
    inputs: int,
    outputs: int,
    height: int,
    width: int,
    window: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Kernel:
    """A convolution with bias and ReLU of a map of ``height`` x ``width``."""
    builder = GraphBuilder()
    conv = Conv2d(inputs, outputs, window, stride, window // 2 * dilation, dilation, groups)
    graph = builder.build(builder.add("relu", Activation("relu"), builder.conv_bn("conv", conv, "x")))
    return only(graph, inputs, height, width)


def depthwise(channels: int, height: int, width: int, window: int = 3, stride: int = 1) -> Kernel:
    return convolution(channels, channels, height, width, window, stride=stride, groups=channels)


def argmax(height: int, width: int) -> Kernel:
    builder = GraphBuilder()
    return only(builder.build(builder.add("classes", ArgMax(), "x")), 19, height, width)


def labels(channels: int, height: int, width: int, size: tuple[int, int], *, corners: bool = False) -> Kernel:
    """The largest channel of a resized map, as a byte."""
    builder = GraphBuilder()
    resized = builder.add("resized", Resize(corners, size), "x")
    graph = builder.build(builder.add("byte", ToByte(), builder.add("largest", ArgMax(), resized)))
    return only(graph, channels, height, width)


def relu(channels: int, height: int, width: int) -> Kernel:
    builder = GraphBuilder()
    return only(
        builder.build(builder.add("relu", Activation("relu"), "x")),
        channels,
        height,
        width,
    )


def frame(height: int, width: int) -> Kernel:
    """The kernel that reads a camera's frame."""
    builder = GraphBuilder(("frame",))
    graph = builder.build(builder.add("n", Normalize((0.5,) * 3, (0.2,) * 3), "frame"))
    (kernel,) = split_into_kernels(graph, {"frame": (1, height, width, 3)})
    return kernel


def only(graph: Graph, channels: int, height: int, width: int) -> Kernel:
    (kernel,) = split_into_kernels(graph, {"x": (1, channels, height, width)})
    return kernel


def residual(channels: int, expansion: int, window: int, height: int, width: int) -> list[Kernel]:
    """Expand, depthwise, project and add."""
    builder, wide = GraphBuilder(), channels * expansion
    x = builder.add("a", Activation("relu"), builder.conv_bn("expand", Conv2d(channels, wide), "x"))
    conv = Conv2d(wide, wide, window, 1, window // 2, 1, wide)
    x = builder.add("b", Activation("relu"), builder.conv_bn("depthwise", conv, x))
    x = builder.add("sum", Add(), builder.conv_bn("project", Conv2d(wide, channels), x), "x")
    return split_into_kernels(builder.build(x), {"x": (1, channels, height, width)})


def space() -> list[Kernel]:
    """Distinct kernels of a small space: 66 of 8 families."""
    kernels = [convolution(3, 16, 128, 256, 3, stride=2), argmax(128, 256)]
    for channels, height, width in ((16, 64, 128), (24, 32, 64), (40, 16, 32), (96, 8, 16)):
        for expansion in (1, 3, 6):
            for window in (3, 5):
                kernels += residual(channels, expansion, window, height, width)
            kernels.append(depthwise(channels * expansion, height, width, stride=2))
        kernels.append(relu(channels, height, width))
    return list(dict.fromkeys(kernels))


def foreign(op: Foreign, *after: Op, channels: int = 8, height: int = 16, width: int = 32) -> Kernel:
    """An operation of somebody else's network and what is fused to it."""
    builder = GraphBuilder()
    value = builder.add("foreign", op, "x")
    for index, more in enumerate(after):
        value = builder.add(f"after{index}", more, value)
    return only(builder.build(value), channels, height, width)


def transposed(work: int = 8 * 16 * 32 * 8 * 4) -> Kernel:
    """A transposed convolution that doubles a map of 8x16x32, and a ReLU."""
    up = Foreign("ConvTranspose", (1, 8, 32, 64), work, 8 * 8 * 4, "dense")
    return foreign(up, Activation("relu"))
