"""DeepLabV3 (arXiv:1706.05587) on MobileNetV2 (arXiv:1801.04381, table 2 and section 6.3).

Output stride 16.
"""

import torch
from torch import Tensor, nn

from .blocks import InvertedResidual, Pooled, conv_bn, resized

# expansion, channels, blocks, stride, dilation: table 2, the last stage dilated instead of halved
STAGES = (
    *((1, 16, 1, 1, 1), (6, 24, 2, 2, 1), (6, 32, 3, 2, 1), (6, 64, 4, 2, 1)),
    *((6, 96, 3, 1, 1), (6, 160, 3, 1, 2), (6, 320, 1, 1, 2)),
)
RATES = (6, 12, 18)


class DeepLabV3MobileNetV2(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W), from the map of 320 channels.

    Args:
        rates: of the dilated convolutions of the pyramid; none: the small head that MobileNetV2's authors
            prefer on phones.
    """

    def __init__(self, classes: int = 19, rates: tuple[int, ...] = RATES) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 32, 3, 2, act=nn.ReLU6)]
        inputs = 32
        for expansion, outputs, count, stride, dilation in STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                hidden = expansion * inputs
                layers.append(InvertedResidual(inputs, outputs, hidden, stride=step, dilation=dilation))
                inputs = outputs
        self.backbone = nn.Sequential(*layers)
        self.mean = Pooled(conv_bn(inputs, 256, 1))
        dilated = [conv_bn(inputs, 256, 3, dilation=rate) for rate in rates]
        self.scales = nn.ModuleList([conv_bn(inputs, 256, 1), *dilated])
        self.join = conv_bn(256 * (2 + len(rates)), 256, 1)
        self.classify = nn.Conv2d(256, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.backbone(x)
        found = [scale(deep) for scale in self.scales]
        joined = self.join(torch.cat([resized(self.mean(deep), deep), *found], 1))
        return resized(self.classify(joined), x)
