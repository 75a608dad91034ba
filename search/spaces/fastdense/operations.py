"""What a decoder is made of, as layers. Resizes are bilinear, corners not aligned; padding keeps the size."""

from functools import cache

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Add, Concat, Conv2d, Expand, GlobalAvgPool, Resize

SKIP, NONE, POOL = "skip", "none", "global_pool"
OPERATIONS = (
    *("conv1x1", "conv3x3", "sep3x3", "sep5x5", POOL, "conv3x3d3", "conv3x3d12", "sep3x3d3", "sep5x5d6"),
    *(SKIP, NONE),
)
"""Of a cell, by the authors' numbers: kernel and dilation of convolutions, dense or separable."""


def add_conv(net: GraphBuilder, name: str, conv: Conv2d, x: str) -> str:
    """Convolution, batch normalisation, ReLU."""
    return net.add(f"{name}.act", Activation("relu"), net.conv_bn(name, conv, x))


@cache
def conv_graph(in_channels: int, out_channels: int) -> Graph:
    """1x1, batch normalisation, ReLU."""
    net = GraphBuilder()
    return net.build(add_conv(net, "fit", Conv2d(in_channels, out_channels), "x"))


@cache
def operation_graph(name: str, in_channels: int, out_channels: int, repeats: int, stride: int = 1) -> Graph:
    """Layers of an operation that has some: ``x`` (N, in, H, W) -> (N, out, H, W), smaller by the stride.

    Args:
        repeats: how often a separable convolution is done, each time with that stride.
        stride: the global pool's result has the size of ``x`` whatever it is.
    """
    net, value = GraphBuilder(), "x"
    if name == POOL:
        value = net.add("mean", GlobalAvgPool(), value)
        value = add_conv(net, "pooled", Conv2d(in_channels, out_channels), value)
        return net.build(net.add("expand", Expand(), value, size_of="x"))
    kind, kernel, dilation = parsed(name)
    window = kernel, stride, kernel // 2 * dilation, dilation
    if kind == "conv":
        return net.build(add_conv(net, "dense", Conv2d(in_channels, out_channels, *window), value))
    channels = in_channels
    for index in range(repeats):
        depthwise = Conv2d(channels, channels, *window, groups=channels)
        value = net.add(f"{index}.depthwise", depthwise, value)
        value = add_conv(net, f"{index}.point", Conv2d(channels, out_channels), value)
        channels = out_channels
    return net.build(value)


def parsed(name: str) -> tuple[str, int, int]:
    """``sep5x5d6`` -> (sep, 5, 6): kind, kernel, dilation."""
    head, _, tail = name.partition("x")
    side, _, dilation = tail.partition("d")
    return head[:-1] if head[-1].isdigit() else head, int(side), int(dilation or 1)


@cache
def unchanged_graph() -> Graph:
    """A skip where a sum would otherwise read one map twice: a ReLU, which changes no map of these."""
    net = GraphBuilder()
    return net.build(net.add("copy", Activation("relu"), "x"))


@cache
def sum_graph(finer: str = "both") -> Graph:
    """Sum of ``left`` and ``right``; ``finer``: which of them gives the size, if not ``both`` have one."""
    net = GraphBuilder(("left", "right"))
    ends = ["left", "right"]
    if finer != "both":
        other = 1 - ends.index(finer)
        ends[other] = net.add("grow", Resize(align_corners=False), ends[other], size_of=finer)
    return net.build(net.add("sum", Add(), *ends))


@cache
def head_graph(in_channels: tuple[int, ...], coarser: tuple[bool, ...], channels: int, outputs: int) -> Graph:
    """Maps ``x0``, ``x1``, ... to ``outputs`` at the size of ``image``.

    Args:
        coarser: which of them are smaller than the largest, and so resized.
    """
    maps = tuple(f"x{index}" for index in range(len(coarser)))
    net = GraphBuilder((*maps, "image"))
    largest, values = maps[coarser.index(False)], list(maps)
    for index, name in enumerate(maps):
        if coarser[index]:
            values[index] = net.add(f"grow{index}", Resize(align_corners=False), name, size_of=largest)
    value = net.add("concat", Concat(), *values) if len(values) > 1 else values[0]
    value = net.add("act", Activation("relu"), value)
    value = add_conv(net, "fuse", Conv2d(sum(in_channels), channels), value)
    return net.build(add_classifier(net, "classify", channels, outputs, value, "image"))


def add_classifier(net: GraphBuilder, name: str, channels: int, outputs: int, x: str, image: str) -> str:
    """3x3 to as many outputs, at the size of the image."""
    value = net.add(name, Conv2d(channels, outputs, 3, padding=1, bias=True), x)
    return net.add(f"{name}.resize", Resize(align_corners=False), value, size_of=image)
