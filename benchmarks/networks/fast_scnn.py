"""Fast-SCNN: "Fast Semantic Segmentation Network", arXiv:1902.04502, tables 1 to 3."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import BinnedMean, InvertedResidual, conv_bn, resized, separable


class Pyramid(nn.Module):
    """Means over grids of 1, 2, 3 and 6 beside the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(BinnedMean(bins), conv_bn(channels, channels // 4, 1)) for bins in (1, 2, 3, 6)
        )
        self.last = conv_bn(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [resized(scale(x), x) for scale in self.scales]
        return self.last(torch.cat([x, *found], 1))  # type: ignore[no-any-return]


def _bottlenecks(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    first = InvertedResidual(inputs, outputs, 6 * inputs, stride=stride, act=nn.ReLU)
    more = [InvertedResidual(outputs, outputs, 6 * outputs, act=nn.ReLU) for _ in range(2)]
    return [first, *more]


class FastSCNN(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W)."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.down = nn.Sequential(conv_bn(3, 32, 3, 2), separable(32, 48, 2), separable(48, 64, 2))
        self.features = nn.Sequential(
            *_bottlenecks(64, 64, 2), *_bottlenecks(64, 96, 2), *_bottlenecks(96, 128, 1), Pyramid(128)
        )
        self.fine = conv_bn(64, 128, 1, act=None)
        self.coarse = nn.Sequential(conv_bn(128, 128, groups=128, dilation=4), conv_bn(128, 128, 1, act=None))
        self.head = nn.Sequential(separable(128, 128), separable(128, 128), nn.Conv2d(128, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.coarse(resized(self.features(fine), fine))
        return resized(self.head(functional.relu(self.fine(fine) + coarse)), x)
