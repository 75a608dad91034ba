"""STDC1-Seg: "Rethinking BiSeNet For Real-time Semantic Segmentation", arXiv:2104.13188.

STDC1-Seg50 and STDC1-Seg75 are this network at 512x1024 and 768x1536. Its detail head is for training alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Pooled, conv, conv_bn, resized


class ShortTermDense(nn.Module):
    """Convolutions of half, a quarter, an eighth and an eighth of the channels; all are the result.

    With stride 2 a depthwise convolution halves what goes on, average pooling what is kept of the first.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half, quarter, eighth = outputs // 2, outputs // 4, outputs // 8
        self.first = conv_bn(inputs, half, 1)
        self.halve = conv_bn(half, half, 3, 2, groups=half, act=None) if stride == 2 else None
        self.others = nn.ModuleList(
            [conv_bn(half, quarter), conv_bn(quarter, eighth), conv_bn(eighth, eighth)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        found = [x if self.halve is None else functional.avg_pool2d(x, 3, 2, 1)]
        x = x if self.halve is None else self.halve(x)
        for layer in self.others:
            x = layer(x)
            found.append(x)
        return torch.cat(found, 1)


class STDC1(nn.Module):
    """The backbone; gives the maps at 1/8 (256 channels), 1/16 (512) and 1/32 (1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 64, 3, 2))
        widths = ((64, 256), (256, 512), (512, 1024))
        self.stages = nn.ModuleList(
            nn.Sequential(ShortTermDense(i, o, 2), ShortTermDense(o, o, 1)) for i, o in widths
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class STDC1Classifier(nn.Module):
    """As it is trained on ImageNet: the form whose size its authors publish."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.last = STDC1(), conv_bn(1024, 1024, 1)
        hidden = [nn.Linear(1024, 1024, bias=False), nn.BatchNorm1d(1024), nn.ReLU()]
        self.classify = nn.Sequential(*hidden, nn.Linear(1024, 1000, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.last(self.backbone(x)[-1]).mean((2, 3)))  # type: ignore[no-any-return]


class Refined(nn.Module):
    """Attention refinement: a convolution, and a gate for each channel by its mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_bn(inputs, outputs)
        self.gate = Pooled(conv_bn(outputs, outputs, 1, act=nn.Sigmoid))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.gate(x)  # type: ignore[no-any-return]


class Fusion(nn.Module):
    """Feature fusion: both, and a gate for each channel of them together."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_bn(inputs, outputs, 1)
        down, up = conv(outputs, outputs // 4, 1), conv(outputs // 4, outputs, 1)
        self.gate = Pooled(nn.Sequential(down, nn.ReLU(), up, nn.Sigmoid()))

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        both = self.conv(torch.cat([fine, coarse], 1))
        return both * self.gate(both) + both  # type: ignore[no-any-return]


class STDC1Seg(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W)."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.backbone = STDC1()
        self.refine16, self.refine32 = Refined(512, 128), Refined(1024, 128)
        self.context = Pooled(conv_bn(1024, 128, 1))
        self.join16, self.join32 = conv_bn(128, 128), conv_bn(128, 128)
        self.fuse = Fusion(256 + 128, 256)
        self.head = nn.Sequential(conv_bn(256, 256), conv(256, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine, middle, coarse = self.backbone(x)
        deep = self.refine32(coarse) + resized(self.context(coarse), coarse, nearest=True)
        deep = self.join32(resized(deep, middle, nearest=True))
        deep = self.join16(resized(self.refine16(middle) + deep, fine, nearest=True))
        return resized(self.head(self.fuse(fine, deep)), x)
