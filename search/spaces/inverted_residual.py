"""Candidate blocks by name: ``k5e6``, ``k3e1g2d2``, ``skip``; and the layers they stand for.

An inverted residual is a 1x1 expansion, a depthwise convolution and a 1x1 projection (MobileNetV2,
arXiv:1801.04381; SqueezeNAS, arXiv:1908.01748, section 3.1).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import (
    Activation,
    ActivationKind,
    Add,
    Concat,
    Conv2d,
    GlobalAvgPool,
    Mul,
    ShiftByOne,
)
from search.errors import UnknownCandidate

SKIP = "skip"
_NAME = re.compile(r"k(\d+)(?:e(\d+)|h(\d+))(?:g(\d+))?(?:d(\d+))?(se)?(hs|r6)?")
_ACTIVATIONS: Mapping[str | None, ActivationKind] = {None: "relu", "hs": "hswish", "r6": "relu6"}


@dataclass(frozen=True)
class InvertedResidual:
    """Hyper-parameters of an inverted residual block.

    Attributes:
        kernel, dilation: of the depthwise convolution.
        expansion: hidden channels = expansion * input channels; there is a first 1x1 even for 1.
        hidden: hidden channels as a number instead (MobileNetV3); no first 1x1 when equal to the input.
        groups: of both 1x1 convolutions.
        squeeze_excite: MobileNetV3's gate after the depthwise convolution.
        activation: after the first two convolutions.
    """

    kernel: int
    expansion: int | None = None
    hidden: int | None = None
    groups: int = 1
    dilation: int = 1
    squeeze_excite: bool = False
    activation: ActivationKind = "relu"

    @classmethod
    def parse(cls, name: str) -> "InvertedResidual":
        """Read ``k3e6``, ``k3e1g2d2``, ``k5h672sehs``, ``k3e6r6``. Raises UnknownCandidate for others."""
        match = _NAME.fullmatch(name)
        if not match:
            raise UnknownCandidate(
                f"block {name!r}: write skip, or k<kernel>e<expansion>[g<groups>][d<dilation>], "
                "for example k3e6d2"
            )
        kernel, expansion, hidden, groups, dilation, gate, activation = match.groups()
        return cls(
            kernel=int(kernel),
            expansion=int(expansion) if expansion else None,
            hidden=int(hidden) if hidden else None,
            groups=int(groups or 1),
            dilation=int(dilation or 1),
            squeeze_excite=bool(gate),
            activation=_ACTIVATIONS[activation],
        )

    def __str__(self) -> str:
        width = f"h{self.hidden}" if self.hidden else f"e{self.expansion}"
        groups = f"g{self.groups}" if self.groups > 1 else ""
        dilation = f"d{self.dilation}" if self.dilation > 1 else ""
        gate = "se" * self.squeeze_excite
        activation = next(name for name, kind in _ACTIVATIONS.items() if kind == self.activation) or ""
        return f"k{self.kernel}{width}{groups}{dilation}{gate}{activation}"

    def graph(self, in_channels: int, out_channels: int, stride: int) -> Graph:
        """Layers of the block; input ``x``; a residual addition where shape is kept."""
        hidden = self.hidden or round(in_channels * (self.expansion or 1))
        net, value = GraphBuilder(), "x"
        if self.expansion or hidden != in_channels:
            value = net.conv_bn("expand", Conv2d(in_channels, hidden, groups=self.groups), value)
            value = net.add("expand.act", Activation(self.activation), value)
        depthwise = Conv2d(
            hidden,
            hidden,
            kernel=self.kernel,
            stride=stride,
            padding=self.kernel // 2 * self.dilation,
            dilation=self.dilation,
            groups=hidden,
        )
        value = net.conv_bn("depthwise", depthwise, value)
        value = net.add("depthwise.act", Activation(self.activation), value)
        if self.squeeze_excite:
            value = _squeeze_excite(net, hidden, value)
        value = net.conv_bn("project", Conv2d(hidden, out_channels, groups=self.groups), value)
        if stride == 1 and in_channels == out_channels:
            value = net.add("residual", Add(), value, "x")
        return net.build(value)


def _squeeze_excite(net: GraphBuilder, channels: int, x: str) -> str:
    """MobileNetV3's gate (arXiv:1905.02244, section 5.3): a quarter of the channels, rounded to 8."""
    squeezed = max(8, (channels // 4 + 4) // 8 * 8)
    if squeezed < 0.9 * (channels // 4):
        squeezed += 8
    value = net.add("gate.pool", GlobalAvgPool(), x)
    value = net.add("gate.reduce", Conv2d(channels, squeezed, bias=True), value)
    value = net.add("gate.reduce.act", Activation("relu"), value)
    value = net.add("gate.expand", Conv2d(squeezed, channels, bias=True), value)
    value = net.add("gate.expand.act", Activation("hsigmoid"), value)
    return net.add("gate", Mul(), x, value)


def skip_graph(in_channels: int, out_channels: int, stride: int) -> Graph:
    """The skip candidate: identity where shape is kept, else ReLU and the cheapest projection.

    At stride 2 two 1x1 convolutions of stride 2 give half the channels each, the second on the input shifted
    by one pixel in both axes.
    """
    net = GraphBuilder()
    if stride == 1 and in_channels == out_channels:
        return net.build("x")
    value = net.add("act", Activation("relu"), "x")
    if stride == 1:
        return net.build(net.conv_bn("project", Conv2d(in_channels, out_channels), value))
    half = Conv2d(in_channels, out_channels // 2, stride=stride)
    even = net.conv_bn("even", half, value)
    odd = net.conv_bn("odd", half, net.add("shift", ShiftByOne(), value))
    return net.build(net.add("concat", Concat(), even, odd))


def candidate_graph(name: str, in_channels: int, out_channels: int, stride: int) -> Graph:
    """Layers of the candidate ``name`` between the given channels. Raises UnknownCandidate."""
    if name == SKIP:
        return skip_graph(in_channels, out_channels, stride)
    return InvertedResidual.parse(name).graph(in_channels, out_channels, stride)
