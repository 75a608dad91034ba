"""Segmentation heads: from the encoder's maps to logits at the size of the image.

Inputs of every decoder: ``high`` (coarse map), ``low`` (fine map), ``image`` (gives the size only).
Both resize conventions of the authors' networks are kept; mixing them up costs accuracy at borders.
"""

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import (
    Activation,
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    Expand,
    GlobalAvgPool,
    Mul,
    Resize,
)

POOL_KERNEL, POOL_STRIDE = (49, 49), (16, 20)  # MobileNetV3, section 6.4, at 1024x2048


def lraspp(high_channels: int, low_channels: int, mid_channels: int, num_classes: int) -> Graph:
    """Lite R-ASPP (arXiv:1905.02244, section 6.4): ``high`` at 1/16, ``low`` at 1/8.

    The 49x49 pooling is clamped on maps smaller than its window (images under 784 pixels).
    """
    net = GraphBuilder(("high", "low", "image"))
    scale = net.conv_bn("high", Conv2d(high_channels, mid_channels), "high")
    scale = net.add("high.act", Activation("relu"), scale)
    gate = net.add("gate.pool", AvgPool2d(POOL_KERNEL, POOL_STRIDE), "high")
    gate = net.add("gate", Conv2d(high_channels, mid_channels, bias=True), gate)
    gate = net.add("gate.act", Activation("sigmoid"), gate)
    gate = net.add("gate.resize", Resize(align_corners=False), gate, size_of=scale)
    gated = net.add("gated", Mul(), scale, gate)
    gated = net.add("gated.resize", Resize(align_corners=False), gated, size_of="low")
    from_high = net.add("classify_high", Conv2d(mid_channels, num_classes, bias=True), gated)
    from_low = net.add("classify_low", Conv2d(low_channels, num_classes, bias=True), "low")
    logits = net.add("logits", Add(), from_high, from_low)
    return net.build(net.add("resize", Resize(align_corners=True), logits, size_of="image"))


def aspp(high_channels: int, low_channels: int, mid_channels: int, num_classes: int) -> Graph:
    """Atrous pyramid with grouped 3x3 branches of rates 6, 12, 18: ``high`` at 1/16, ``low`` at 1/4."""
    net = GraphBuilder(("high", "low", "image"))
    branches = [_conv_bn_relu(net, "point", Conv2d(high_channels, mid_channels), "high")]
    for rate in (6, 12, 18):
        atrous = Conv2d(
            high_channels, mid_channels, kernel=3, padding=rate, dilation=rate, groups=mid_channels
        )
        branches.append(_conv_bn_relu(net, f"atrous{rate}", atrous, "high"))
    pooled = net.add("pool", GlobalAvgPool(), "high")
    branches.append(net.add("pool.expand", Expand(), pooled, size_of="high"))
    stacked = net.add("pyramid", Concat(), *branches)
    fused = _conv_bn_relu(net, "fuse", Conv2d(4 * mid_channels + high_channels, mid_channels), stacked)
    fine = net.add("fuse.resize", Resize(align_corners=True), fused, size_of="low")
    detail = net.add("detail", Conv2d(low_channels, low_channels, bias=True), "low")
    both = mid_channels + low_channels
    merged = net.add("merge", Concat(), fine, detail)
    refined = _conv_bn_relu(net, "refine", Conv2d(both, both, kernel=3, padding=1, groups=both), merged)
    logits = net.add("classify", Conv2d(both, num_classes, bias=True), refined)
    return net.build(net.add("resize", Resize(align_corners=True), logits, size_of="image"))


def _conv_bn_relu(net: GraphBuilder, name: str, conv: Conv2d, x: str) -> str:
    return net.add(f"{name}.act", Activation("relu"), net.conv_bn(name, conv, x))


DECODERS = {"lraspp": lraspp, "aspp": aspp}
