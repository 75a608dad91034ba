"""What a cell may be, as layers; and the pieces around the cells. All convolutions are 3x3 unless they say.

Every resize is bilinear with aligned corners. A zoomed operation (``_downup``) works at half the size and
returns to it, unless the cell halves the map anyway.
"""

from functools import cache
from itertools import pairwise

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Concat, Conv2d, Crop, Pad, Resize, ShiftByOne
from search.spaces.camera import frame_graph
from search.spaces.fasterseg.grid import SKIP

_WIDE = 256  # channels above which a head works in half of them


@cache
def cell_graph(operation: str, in_channels: int, out_channels: int, *, down: bool) -> Graph:
    """Layers of a cell: ``x`` (N, in, H, W) -> (N, out, H, W), or half as large if it goes down a scale.

    A ``skip`` that does not go down is in supernets alone: elsewhere the cell is left out.
    """
    if operation == SKIP:
        return _skip(in_channels, out_channels, down=down)
    net, value = GraphBuilder(), "x"
    zoomed = operation.endswith("_downup")
    if zoomed:
        value = net.add("shrink", Resize(align_corners=True), value, size_of="x", size_over=2)
    first = Conv2d(in_channels, out_channels, 3, stride=2 if down and not zoomed else 1, padding=1)
    value = net.conv_bn("first", first, value)
    if operation.startswith("conv_2x"):
        value = net.add("first.act", Activation("relu"), value)
        value = net.conv_bn("second", Conv2d(out_channels, out_channels, 3, padding=1), value)
    if zoomed and not down:
        value = net.add("grow", Resize(align_corners=True), value, size_of="x")
    return net.build(net.add("act", Activation("relu"), value))


def _skip(in_channels: int, out_channels: int, *, down: bool) -> Graph:
    """A 1x1 convolution; going down, two of stride 2 to half the channels each, the second a pixel further.

    Each has the normalisation of its half: of channels alone, so the same as one over both.
    """
    net = GraphBuilder()
    if not down:
        return net.build(_conv(net, "first", Conv2d(in_channels, out_channels), "x"))
    half = Conv2d(in_channels, out_channels // 2, stride=2)
    even = net.conv_bn("even", half, "x")
    odd = net.conv_bn("odd", half, net.add("shift", ShiftByOne(), "x"))
    return net.build(net.add("act", Activation("relu"), net.add("concat", Concat(), even, odd)))


def frame_part(multiple: int) -> Graph:
    """A camera's ``frame`` -> normalised image, filled up to sides that the last scale divides."""
    net = GraphBuilder(("frame",))
    (image,) = net.embed("", frame_graph(), "frame")
    return net.build(net.add("pad", Pad(multiple), image))


@cache
def stem_graph(channels: tuple[int, ...]) -> Graph:
    """Image ``x`` -> the map that enters the grid; a stage a halving, of that many channels."""
    net = GraphBuilder()
    value = _conv(net, "0", Conv2d(3, channels[0], 3, stride=2, padding=1), "x")
    for stage, (before, after) in enumerate(pairwise(channels), 1):
        (value,) = net.embed(str(stage), cell_graph("conv_2x", before, after, down=True), value)
    return net.build(value)


@cache
def merge_graph(in_channels: int, out_channels: int, tap_channels: int) -> Graph:
    """A coarse map ``x`` brought to a finer one, ``tap``: 1x1, resize, concatenated with it, 3x3."""
    net = GraphBuilder(("x", "tap"))
    value = _conv(net, "reduce", Conv2d(in_channels, out_channels), "x")
    value = net.add("grow", Resize(align_corners=True), value, size_of="tap")
    value = net.add("concat", Concat(), value, "tap")
    both = Conv2d(out_channels + tap_channels, out_channels, 3, padding=1)
    return net.build(_conv(net, "refine", both, value))


@cache
def fusion_graph(channels: int, outputs: int) -> Graph:
    """Results of both branches, ``deep`` and ``fine``, of that many channels each -> ``outputs`` at the size
    of ``image``. ``padded`` has the size that eight times theirs is."""
    net = GraphBuilder(("deep", "fine", "padded", "image"))
    value = net.add("concat", Concat(), "deep", "fine")
    value = _conv(net, "fuse", Conv2d(2 * channels, 2 * channels), value)
    return net.build(_head(net, "head", 2 * channels, outputs, value))


@cache
def classify_graph(channels: int, outputs: int) -> Graph:
    """A head at the size of its map ``x``."""
    net = GraphBuilder()
    return net.build(_classify(net, "head", channels, outputs, "x"))


def auxiliary_head(net: GraphBuilder, name: str, channels: int, outputs: int, *maps: str) -> str:
    """A head of training on maps of one size, ``channels`` together; ``pad`` and ``x`` say the sizes."""
    value = net.add(f"{name}.concat", Concat(), *maps) if len(maps) > 1 else maps[0]
    return _head(net, name, channels, outputs, value, padded="pad", image="x")


def _head(
    net: GraphBuilder,
    name: str,
    channels: int,
    outputs: int,
    x: str,
    padded: str = "padded",
    image: str = "image",
) -> str:
    value = _classify(net, name, channels, outputs, x)
    value = net.add(f"{name}.resize", Resize(align_corners=True), value, size_of=padded)
    return net.add(f"{name}.crop", Crop(), value, size_of=image)


def _classify(net: GraphBuilder, name: str, channels: int, outputs: int, x: str) -> str:
    middle = channels if channels <= _WIDE else channels // 2
    value = _conv(net, f"{name}.middle", Conv2d(channels, middle, 3, padding=1), x)
    return net.add(f"{name}.classify", Conv2d(middle, outputs, bias=True), value)


def _conv(net: GraphBuilder, name: str, conv: Conv2d, x: str) -> str:
    return net.add(f"{name}.act", Activation("relu"), net.conv_bn(name, conv, x))
