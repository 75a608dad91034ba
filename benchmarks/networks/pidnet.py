"""PIDNet-S: "A Real-time Semantic Segmentation Network Inspired by PID Controllers", arXiv:2206.02066."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Basic, Bottleneck, Pooled, PreActivatedHead, basics, bn_conv, conv_bn, resized


class PixelAttention(nn.Module):
    """Pag: where both agree the coarse branch counts, elsewhere the fine one."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.fine = conv_bn(channels, middle, 1, act=None)
        self.coarse = conv_bn(channels, middle, 1, act=None)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        agreed = self.fine(fine) * resized(self.coarse(coarse), fine)
        share = torch.sigmoid(agreed.sum(1, keepdim=True))
        return (1 - share) * fine + share * resized(coarse, fine)


class ParallelPyramid(nn.Module):
    """PAPPM: means over ever larger windows, each added to the plain scale, by one grouped convolution."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        windows = ((5, 2), (9, 4), (17, 8), (None, None))
        self.scales = nn.ModuleList(Pooled(bn_conv(inputs, middle, 1), *window) for window in windows)
        self.first = bn_conv(inputs, middle, 1)
        self.join = bn_conv(4 * middle, 4 * middle, groups=4)
        self.last = bn_conv(5 * middle, outputs, 1)
        self.shortcut = bn_conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        plain = self.first(x)
        found = [resized(scale(x), x) + plain for scale in self.scales]
        together = torch.cat([plain, self.join(torch.cat(found, 1))], 1)
        return self.last(together) + self.shortcut(x)  # type: ignore[no-any-return]


class BoundaryAggregation(nn.Module):
    """Light-Bag: at boundaries the fine branch counts, elsewhere the coarse one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = conv_bn(channels, channels, 1, act=None)
        self.coarse = conv_bn(channels, channels, 1, act=None)

    def forward(self, fine: Tensor, coarse: Tensor, boundary: Tensor) -> Tensor:
        share = torch.sigmoid(boundary)
        found: Tensor = self.fine((1 - share) * coarse + fine) + self.coarse(coarse + share * fine)
        return found


class PIDNetS(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W). P, I and D: fine, coarse and boundary branch."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 32, 3, 2))
        self.stage1, self.stage2 = basics(32, 32, 2), basics(32, 64, 2, 2)
        self.i3, self.i4 = basics(64, 128, 3, 2), basics(128, 256, 3, 2)
        self.i5 = nn.Sequential(Bottleneck(256, 256, 2), nn.ReLU(), Bottleneck(512, 256))
        self.p3, self.p4, self.p5 = basics(64, 64, 2), basics(64, 64, 2), Bottleneck(64, 64)
        self.d3, self.d4, self.d5 = Basic(64, 32, last=False), Bottleneck(32, 32), Bottleneck(64, 64)
        self.i3_to_p, self.i4_to_p = conv_bn(128, 64, 1, act=None), conv_bn(256, 64, 1, act=None)
        self.i3_to_d, self.i4_to_d = conv_bn(128, 32, act=None), conv_bn(256, 64, act=None)
        self.attend3, self.attend4 = PixelAttention(64, 32), PixelAttention(64, 32)
        self.pyramid, self.aggregate = ParallelPyramid(512, 96, 128), BoundaryAggregation(128)
        self.head = PreActivatedHead(128, 128, classes)

    def forward(self, x: Tensor) -> Tensor:
        relu = functional.relu
        shared = relu(self.stage2(relu(self.stage1(self.stem(x)))))
        p, d, i = self.p3(shared), self.d3(shared), relu(self.i3(shared))
        p, d = self.attend3(p, self.i3_to_p(i)), d + resized(self.i3_to_d(i), d)
        p, d, i = self.p4(relu(p)), self.d4(relu(d)), relu(self.i4(i))
        p, d = self.attend4(p, self.i4_to_p(i)), d + resized(self.i4_to_d(i), d)
        p, d, i = self.p5(relu(p)), self.d5(relu(d)), self.pyramid(self.i5(i))
        return resized(self.head(self.aggregate(p, resized(i, p), d)), x)
