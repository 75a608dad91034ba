"""U-Net: "Convolutional Networks for Biomedical Image Segmentation", arXiv:1505.04597, figure 1.

Its 3x3 convolutions keep the size here, as most do it since: every pixel of an image gets its class.
"""

import torch
from torch import Tensor, nn


def _two(inputs: int, outputs: int) -> nn.Sequential:
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


class UNet(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W); sides are multiples of 16.

    Args:
        width: channels of the first map; each of the four coarser ones has twice as many.
    """

    def __init__(self, classes: int = 19, *, inputs: int = 3, width: int = 64) -> None:
        super().__init__()
        widths = [width << level for level in range(5)]
        self.downs = nn.ModuleList(_two(i, o) for i, o in zip([inputs, *widths], widths, strict=False))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in pairs)
        self.joins = nn.ModuleList(_two(i, o) for i, o in pairs)
        self.pool, self.classify = nn.MaxPool2d(2), nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for down in self.downs:
            x = down(self.pool(x) if kept else x)
            kept.append(x)
        for up, join, fine in zip(self.ups, self.joins, kept[-2::-1], strict=True):
            x = join(torch.cat([fine, up(x)], 1))
        return self.classify(x)  # type: ignore[no-any-return]
