"""The FBNet space as measured by HELP, in this project's layer descriptions: 22 positions, 9 operations.

Layers are those of FBNet (arXiv:1812.03443, table 1) in the CIFAR setting of HW-NAS-Bench (ICLR 2021): images
of 32x32, the first two stages at full size, 1504 channels before the classifier of 100 classes. The channel
shuffle between grouped convolutions is left out: it moves as many bytes as the convolution before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, Conv2d, GlobalAvgPool, Shape
from search.spaces.inverted_residual import SKIP, InvertedResidual

OPERATIONS = ("k3e1", "k3e1g2", "k3e3", "k3e6", "k5e1", "k5e1g2", "k5e3", "k5e6", SKIP)
_STAGES = ((16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
_STEM, _HEAD, _CLASSES, _PIXELS = 16, 1504, 100, 32


@dataclass(frozen=True)
class Position:
    """A place in the network: channels in and out, stride, and pixels of the input's sides."""

    in_channels: int
    out_channels: int
    stride: int
    pixels: int

    def kernels(self, operation: str) -> list[Kernel]:
        """Fused kernels of an operation here; none for a skip that keeps the shape."""
        if operation == SKIP:
            return _kernels(self._skip(), self.in_channels, self.pixels)
        block = InvertedResidual.parse(operation)
        graph = block.graph(self.in_channels, self.out_channels, self.stride)
        return _kernels(graph, self.in_channels, self.pixels)

    def _skip(self) -> Graph:
        net = GraphBuilder()
        if self.stride == 1 and self.in_channels == self.out_channels:
            return net.build("x")
        conv = Conv2d(self.in_channels, self.out_channels, stride=self.stride)
        return net.build(net.add("skip.act", Activation("relu"), net.conv_bn("skip", conv, "x")))


def positions() -> list[Position]:
    """The 22 places, in order."""
    found, channels, pixels = [], _STEM, _PIXELS
    for out_channels, count, stage_stride in _STAGES:
        for index in range(count):
            stride = stage_stride if index == 0 else 1
            found.append(Position(channels, out_channels, stride, pixels))
            channels, pixels = out_channels, pixels // stride
    return found


def fixed_kernels() -> list[Kernel]:
    """What every network has around its blocks: stem, last convolution, pooling and classifier."""
    stem = GraphBuilder()
    first = Conv2d(3, _STEM, kernel=3, padding=1)
    stem_graph = stem.build(stem.add("stem.act", Activation("relu"), stem.conv_bn("stem", first, "x")))
    last = positions()[-1]
    head = GraphBuilder()
    value = head.conv_bn("head", Conv2d(last.out_channels, _HEAD), "x")
    value = head.add("pool", GlobalAvgPool(), head.add("head.act", Activation("relu"), value))
    head_graph = head.build(head.add("classes", Conv2d(_HEAD, _CLASSES, bias=True), value))
    return _kernels(stem_graph, 3, _PIXELS) + _kernels(head_graph, last.out_channels, last.pixels)


def network(choices: Sequence[int]) -> list[Kernel]:
    """Kernels of a network, in order, from the index of the operation at every position."""
    blocks = [p.kernels(OPERATIONS[choice]) for p, choice in zip(positions(), choices, strict=True)]
    stem, *rest = fixed_kernels()
    return [stem, *(kernel for block in blocks for kernel in block), *rest]


def _kernels(graph: Graph, channels: int, pixels: int) -> list[Kernel]:
    shape: Shape = (1, channels, pixels, pixels)
    return split_into_kernels(graph, {"x": shape})
