"""How the layers of templates bring two maps together, and what of them the classifier takes.

A batch normalisation that follows no convolution is written as ``Standardize`` and a 1x1 depthwise
convolution with bias: its scale and shift. A learned vector is such a convolution without one.
"""

from functools import cache

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Add, Concat, Conv2d, MaxPool2d, Resize, Standardize
from search.spaces.fastdense.operations import POOL, SKIP, add_classifier, operation_graph

MAX_POOL = "max_pool3x3"
TEMPLATE_OPERATIONS = ("sep3x3", "sep5x5", POOL, MAX_POOL, "sep5x5d6", SKIP)
"""By the authors' numbers."""
WEIGHTED, STACKED = "weighted sum", "concat"
AGGREGATIONS = (WEIGHTED, STACKED)


@cache
def template_operation_graph(
    name: str, in_channels: int, out_channels: int, repeats: int, stride: int
) -> Graph:
    """Layers of an operation, ``x`` -> ``out_channels``. A skip that widens repeats its channels."""
    if name not in (MAX_POOL, SKIP):
        return operation_graph(name, in_channels, out_channels, repeats, stride)
    net = GraphBuilder()
    if name == SKIP:
        return net.build(net.add("repeat", Concat(), *["x"] * (out_channels // in_channels)))
    value = net.conv_bn("before", Conv2d(in_channels, out_channels), "x")
    return net.build(net.add("max", MaxPool2d(3, stride, 1), value))


@cache
def resize_graph() -> Graph:
    """``x`` at the size of ``to``."""
    net = GraphBuilder(("x", "to"))
    return net.build(net.add("resize", Resize(align_corners=False), "x", size_of="to"))


@cache
def aggregation_graph(name: str, channels: int, *, twice: bool = False) -> Graph:
    """Two maps of so many channels, ``left`` and ``right``, to one; ``twice``: of one map, ``left``."""
    ends = ("left", "left") if twice else ("left", "right")
    net = GraphBuilder(ends[: 2 - twice])
    if name == WEIGHTED:
        scaled = [_scaled(net, f"scale{i}", channels, end) for i, end in enumerate(ends)]
        return net.build(net.add("sum", Add(), *scaled))
    value = net.add("concat", Concat(), *ends)
    value = _normalised(net, 2 * channels, value)
    return net.build(net.add("mix", Conv2d(2 * channels, channels), value))


@cache
def gather_graph(in_channels: int, out_channels: int, *, resized: bool) -> Graph:
    """The share of one map, ``x``, in the 1x1 convolution on all that the classifier takes.

    Of a concatenation it is the sum of these. ``resized``: to the size of another, ``to``.
    """
    net, value = GraphBuilder(("x", "to") if resized else ("x",)), "x"
    if resized:
        value = net.add("grow", Resize(align_corners=False), value, size_of="to")
    value = net.add("act", Activation("relu"), value)
    return net.build(net.add("fuse", Conv2d(in_channels, out_channels), value))


@cache
def classify_graph(channels: int, outputs: int) -> Graph:
    """What they add up to, ``x``, normalised and classified at the size of ``image``."""
    net = GraphBuilder(("x", "image"))
    value = _normalised(net, channels, "x")
    return net.build(add_classifier(net, "classify", channels, outputs, value, "image"))


def _scaled(net: GraphBuilder, name: str, channels: int, x: str, *, bias: bool = False) -> str:
    return net.add(name, Conv2d(channels, channels, groups=channels, bias=bias), x)


def _normalised(net: GraphBuilder, channels: int, x: str) -> str:
    value = _scaled(net, "scale", channels, net.add("norm", Standardize(channels), x), bias=True)
    return net.add("norm.act", Activation("relu"), value)
