"""LR-ASPP on MobileNetV3-Large: "Searching for MobileNetV3", arXiv:1905.02244, table 1 and section 6.4.

Output stride 16, the last stage with half its channels and the segmentation head of 128 filters: row 8 of
its table 7. With all of its channels it is torchvision's.
"""

from torch import Tensor, nn
from torch.nn import functional

from .blocks import InvertedResidual, Pooled, conv_bn, resized

# kernel, hidden, outputs, squeeze and excite, hard swish, stride, dilation
ROWS = (
    *((3, 16, 16, False, False, 1, 1), (3, 64, 24, False, False, 2, 1), (3, 72, 24, False, False, 1, 1)),
    *((5, 72, 40, True, False, 2, 1), (5, 120, 40, True, False, 1, 1), (5, 120, 40, True, False, 1, 1)),
    *((3, 240, 80, False, True, 2, 1), (3, 200, 80, False, True, 1, 1)),
    *((3, 184, 80, False, True, 1, 1), (3, 184, 80, False, True, 1, 1)),
    *((3, 480, 112, True, True, 1, 1), (3, 672, 112, True, True, 1, 1)),
)
TAIL = 160  # channels of the last stage, of which one half is left
FINE = 6  # rows until the map at 1/8


class SqueezeExcite(nn.Module):
    """A gate for each channel by the means of all, through a quarter of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = -(-(channels // 4) // 8) * 8
        layers = [nn.Conv2d(channels, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, channels, 1)]
        self.gate = Pooled(nn.Sequential(*layers, nn.Hardsigmoid()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)  # type: ignore[no-any-return]


class LRASPPMobileNetV3(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W).

    Args:
        tail: channels of the last stage.
    """

    def __init__(self, classes: int = 19, filters: int = 128, tail: int = TAIL // 2) -> None:
        super().__init__()
        last = [(5, hidden, tail, True, True, 1, 2) for hidden in (672, 6 * tail, 6 * tail)]
        layers: list[nn.Module] = [conv_bn(3, 16, 3, 2, act=nn.Hardswish)]
        inputs = 16
        for kernel, hidden, outputs, squeezes, swishes, stride, dilation in (*ROWS, *last):
            layers.append(
                InvertedResidual(
                    *(inputs, outputs, hidden),
                    kernel=kernel,
                    stride=stride,
                    dilation=dilation,
                    act=nn.Hardswish if swishes else nn.ReLU,
                    gate=SqueezeExcite(hidden) if squeezes else None,
                )
            )
            inputs = outputs
        self.fine = nn.Sequential(*layers[: FINE + 1])
        self.coarse = nn.Sequential(*layers[FINE + 1 :], conv_bn(tail, 6 * tail, 1, act=nn.Hardswish))
        self.features = conv_bn(6 * tail, filters, 1)
        self.gate = nn.Sequential(nn.Conv2d(6 * tail, filters, 1, bias=False), nn.Sigmoid())
        self.classify_fine, self.classify = nn.Conv2d(40, classes, 1), nn.Conv2d(filters, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        deep = self.coarse(fine)
        window = [min(49, int(side)) for side in deep.shape[2:]]
        means = functional.avg_pool2d(deep, window, (16, 20))
        gated = self.features(deep) * resized(self.gate(means), deep)
        return resized(self.classify(resized(gated, fine)) + self.classify_fine(fine), x)
