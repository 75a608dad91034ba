"""DDRNet-23-slim: "Deep Dual-resolution Networks", arXiv:2101.06085, table 2 and figures 4 and 5."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Bottleneck, Pooled, PreActivatedHead, basics, bn_conv, conv_bn, resized


class DeepPyramid(nn.Module):
    """DAPPM: means over ever larger windows, each added to the one before it.

    Args:
        middle: channels of each scale.
    """

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        windows = ((5, 2), (9, 4), (17, 8), (None, None))
        self.scales = nn.ModuleList(Pooled(bn_conv(inputs, middle, 1), *window) for window in windows)
        self.first = bn_conv(inputs, middle, 1)
        self.joins = nn.ModuleList(bn_conv(middle, middle) for _ in windows)
        self.last = bn_conv(5 * middle, outputs, 1)
        self.shortcut = bn_conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.first(x)]
        for scale, join in zip(self.scales, self.joins, strict=True):
            found.append(join(resized(scale(x), x) + found[-1]))
        return self.last(torch.cat(found, 1)) + self.shortcut(x)  # type: ignore[no-any-return]


class DDRNet23Slim(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W)."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 32, 3, 2))
        self.stage2, self.stage3 = basics(32, 32, 2), basics(32, 64, 2, 2)
        self.low4, self.high4 = basics(64, 128, 2, 2), basics(64, 64, 2)
        self.low5, self.high5 = basics(128, 256, 2, 2), basics(64, 64, 2)
        self.low6, self.high6 = Bottleneck(256, 256, 2), Bottleneck(64, 64)
        self.up4, self.up5 = conv_bn(128, 64, 1, act=None), conv_bn(256, 64, 1, act=None)
        self.down4 = conv_bn(64, 128, 3, 2, act=None)
        self.down5 = nn.Sequential(conv_bn(64, 128, 3, 2), conv_bn(128, 256, 3, 2, act=None))
        self.pyramid = DeepPyramid(512, 128, 128)
        self.head = PreActivatedHead(128, 64, classes)

    def forward(self, x: Tensor) -> Tensor:
        relu = functional.relu
        shared = relu(self.stage3(relu(self.stage2(self.stem(x)))))
        low, high = self.low4(shared), self.high4(shared)
        low, high = low + self.down4(relu(high)), high + resized(self.up4(relu(low)), high)
        low, high = self.low5(relu(low)), self.high5(relu(high))
        low, high = low + self.down5(relu(high)), high + resized(self.up5(relu(low)), high)
        low, high = self.low6(relu(low)), self.high6(relu(high))
        return resized(self.head(high + resized(self.pyramid(low), high)), x)
