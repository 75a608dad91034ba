"""PP-LiteSeg-T: "A Superior Real-Time Semantic Segmentation Model", arXiv:2204.02681."""

import torch
from torch import Tensor, nn

from .blocks import BinnedMean, conv_bn, resized
from .stdc import STDC1


class SimplePyramid(nn.Module):
    """SPPM: means over grids of 1, 2 and 4, summed."""

    def __init__(self, inputs: int, middle: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(BinnedMean(bins), conv_bn(inputs, middle, 1)) for bins in (1, 2, 4)
        )
        self.last = conv_bn(middle, middle)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (resized(scale(x), x) for scale in self.scales)
        return self.last(sum(others, first))  # type: ignore[no-any-return]


class UnifiedAttention(nn.Module):
    """UAFM with spatial attention: each pixel's share by mean and maximum over the channels of both."""

    def __init__(self, fine: int, coarse: int, outputs: int) -> None:
        super().__init__()
        self.narrow = conv_bn(fine, coarse)
        self.attend = nn.Sequential(conv_bn(4, 2), conv_bn(2, 1, act=nn.Sigmoid))
        self.last = conv_bn(coarse, outputs)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        fine = self.narrow(fine)
        coarse = resized(coarse, fine)
        seen = [f(x) for x in (fine, coarse) for f in (_mean, _most)]
        share = self.attend(torch.cat(seen, 1))
        return self.last(fine * share + coarse * (1 - share))  # type: ignore[no-any-return]


def _mean(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True)


def _most(x: Tensor) -> Tensor:
    return x.amax(1, keepdim=True)


class PPLiteSegT(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W); decoder of 128, 64 and 32 channels."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.backbone, self.pyramid = STDC1(), SimplePyramid(1024, 128)
        self.fuse32 = UnifiedAttention(1024, 128, 128)
        self.fuse16, self.fuse8 = UnifiedAttention(512, 128, 64), UnifiedAttention(256, 64, 32)
        self.head = nn.Sequential(conv_bn(32, 32), nn.Conv2d(32, classes, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        fine, middle, coarse = self.backbone(x)
        deep = self.fuse32(coarse, self.pyramid(coarse))
        return resized(self.head(self.fuse8(fine, self.fuse16(middle, deep))), x)
