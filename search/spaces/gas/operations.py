"""What stands in a network of cells, as layers: stem, inputs of cells, operations of edges, nodes, decoder.

ReLU stands where a map is made, once for all who want it: what reads an input after ReLU shares it with the
others, and a cell gives what the next ones would begin with. The numbers are those of a ReLU for each.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import (
    Activation,
    Add,
    Concat,
    Conv2d,
    Crop,
    Expand,
    GlobalAvgPool,
    MaxPool2d,
    Pad,
    Resize,
    ShiftByOne,
    Standardize,
)
from search.spaces.camera import frame_graph
from search.spaces.gas.chain import CONV, DILATIONS, POOL, SKIP, ZERO, Pyramid

Kind = Literal["work", "map", "pair"]
"""What comes of an edge: of a convolution or a pooling, a map as it is, or one in two halves."""
_RELU = Activation("relu")


def kind_of(operation: str, *, strided: bool) -> Kind | None:
    """None of ``zero``, from which nothing comes."""
    if operation == ZERO:
        return None
    if operation == SKIP:
        return "pair" if strided else "map"
    return "work"


def wants_relu(operation: str, *, strided: bool) -> bool:
    """Whether it begins with ReLU."""
    return operation != POOL and (strided or operation != SKIP)


def frame_part(multiple: int) -> Graph:
    """A camera's ``frame`` -> normalised image, filled up to sides that the network divides."""
    net = GraphBuilder(("frame",))
    (image,) = net.embed("", frame_graph(), "frame")
    return net.build(net.add("pad", Pad(multiple), image))


@cache
def stem_graph(channels: tuple[int, ...], strides: tuple[int, ...]) -> Graph:
    """Image ``x`` -> the map that the first cells take twice."""
    net, value, before = GraphBuilder(), "x", 3
    for index, (after, stride) in enumerate(zip(channels, strides, strict=True)):
        value = _conv_relu(net, str(index), Conv2d(before, after, 3, stride=stride, padding=1), value)
        before = after
    return net.build(value)


@cache
def input_graph(in_channels: int, channels: int, *, halves: bool, raw: bool, relu: bool) -> Graph:
    """A map ``x``, after ReLU, brought to a cell's channels, and to half its size where it ``halves``.

    Outputs: as it is (``raw``), after ReLU (``relu``), or both.
    """
    net = GraphBuilder()
    if halves:
        value = net.add("whole", Concat(), *_halves(net, in_channels, channels, "x"))
    else:
        value = net.conv_bn("project", Conv2d(in_channels, channels), "x")
    outputs = [value] if raw else []
    return net.build(*outputs, *([net.add("act", _RELU, value)] if relu else []))


@cache
def edge_graph(
    operation: str, channels: int, *, strided: bool, from_input: bool, adds: int = 0, whole: bool = True
) -> Graph:
    """Layers of an operation on ``x``, and sums with that many maps ``a0``, ``a1``.

    Args:
        from_input: ``x`` is after ReLU already, where the operation begins with one.
        whole: else a strided skip's halves stay two outputs.
    """
    net = GraphBuilder(("x", *(f"a{index}" for index in range(adds))))
    value, stride = "x", 2 if strided else 1
    if wants_relu(operation, strided=strided) and not from_input:
        value = net.add("act", _RELU, value)
    if operation == SKIP:
        if not strided:
            return net.build(value)
        halves = _halves(net, channels, channels, value)
        return net.build(net.add("whole", Concat(), *halves)) if whole else net.build(*halves)
    if operation == POOL:
        value = net.add("pool", MaxPool2d(3, stride, 1), value)
        value = net.add("norm", Standardize(channels), value)
    elif operation == CONV:
        value = net.conv_bn("dense", Conv2d(channels, channels, 3, stride=stride, padding=1), value)
    else:
        rate = DILATIONS.get(operation, 1)
        spread = Conv2d(channels, channels, 3, stride, padding=rate, dilation=rate, groups=channels)
        value = net.add("depthwise", spread, value)
        value = net.conv_bn("point", Conv2d(channels, channels), value)
    if adds:
        (value,) = net.embed("sum", sum_graph(("map",) * (1 + adds)), value, *net.inputs[1:])
    return net.build(value)


@cache
def sum_graph(kinds: tuple[Kind, ...]) -> Graph:
    """Sum of maps ``x0``, ``x1`` ...; a ``pair`` is given by its halves, ``x0`` and ``y0``."""
    names = [("x", "y") if kind == "pair" else ("x",) for kind in kinds]
    net = GraphBuilder(tuple(f"{name}{index}" for index, own in enumerate(names) for name in own))
    terms = [
        net.add(f"whole{index}", Concat(), f"x{index}", f"y{index}") if kind == "pair" else f"x{index}"
        for index, kind in enumerate(kinds)
    ]
    value = terms[0]
    for index, term in enumerate(terms[1:]):
        value = net.add(f"add{index}", Add(), value, term)
    return net.build(value)


@cache
def output_graph(nodes: int, *, last: bool) -> Graph:
    """What a cell gives: its nodes stacked, after ReLU but for the decoder."""
    net = GraphBuilder(tuple(f"n{index}" for index in range(nodes)))
    value = net.add("whole", Concat(), *net.inputs) if nodes > 1 else "n0"
    return net.build(value if last else net.add("act", _RELU, value))


@cache
def decoder_graph(pyramid: Pyramid, in_channels: int, outputs: int) -> Graph:
    """The last map ``x`` -> ``outputs`` at the size of ``image``; ``padded`` has the size that was cut up."""
    net = GraphBuilder(("x", "padded", "image"))
    channels = pyramid.channels
    maps = [_conv_relu(net, "point", Conv2d(in_channels, channels), "x")]
    for rate in pyramid.rates:
        conv = Conv2d(in_channels, channels, 3, padding=rate, dilation=rate)
        maps.append(_conv_relu(net, f"rate{rate}", conv, "x"))
    pooled = _conv_relu(net, "pooled", Conv2d(in_channels, channels), net.add("pool", GlobalAvgPool(), "x"))
    maps.append(net.add("pooled.spread", Expand(), pooled, size_of="x"))
    value = net.add("stack", Concat(), *maps)
    value = _conv_relu(net, "fuse", Conv2d(channels * len(maps), channels), value)
    value = net.add("classify", Conv2d(channels, outputs, bias=True), value)
    value = net.add("resize", Resize(align_corners=False), value, size_of="padded")
    return net.build(net.add("crop", Crop(), value, size_of="image"))


def _halves(net: GraphBuilder, in_channels: int, channels: int, x: str) -> Sequence[str]:
    """Two 1x1 convolutions of stride 2, the second of the map a pixel further.

    Each has the normalisation of its half: of channels alone, so the same as one over both.
    """
    half = Conv2d(in_channels, channels // 2, stride=2)
    return net.conv_bn("even", half, x), net.conv_bn("odd", half, net.add("shift", ShiftByOne(), x))


def _conv_relu(net: GraphBuilder, name: str, conv: Conv2d, x: str) -> str:
    return net.add(f"{name}.act", _RELU, net.conv_bn(name, conv, x))
