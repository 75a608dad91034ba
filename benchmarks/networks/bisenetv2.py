"""BiSeNetV2: "Bilateral Network with Guided Aggregation", arXiv:2004.02147, table 1 and figures 4 and 5."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Pooled, conv_bn, resized

HEAD = 1024  # channels inside of the head


class Stem(nn.Module):
    """To a quarter of the size, by convolutions and by max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 16, 3, 2)
        self.left = nn.Sequential(conv_bn(16, 8, 1), conv_bn(8, 16, 3, 2))
        self.right = nn.MaxPool2d(3, 2, 1)
        self.join = conv_bn(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.join(torch.cat([self.left(x), self.right(x)], 1))  # type: ignore[no-any-return]


class GatherExpand(nn.Module):
    """3x3, depthwise to six times the channels (twice where it halves the map), pointwise."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 6 * inputs
        wide = [conv_bn(inputs, hidden, 3, stride, groups=inputs, act=None if stride == 2 else nn.ReLU)]
        if stride == 2:
            wide.append(conv_bn(hidden, hidden, groups=hidden))
        self.layers = nn.Sequential(conv_bn(inputs, inputs), *wide, conv_bn(hidden, outputs, 1, act=None))
        down = conv_bn(inputs, inputs, 3, 2, groups=inputs, act=None)
        across = nn.Sequential(down, conv_bn(inputs, outputs, 1, act=None))
        self.shortcut = across if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.layers(x) + self.shortcut(x))


class Context(nn.Module):
    """The mean over the map, added to every pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = Pooled(nn.Sequential(nn.BatchNorm2d(channels), conv_bn(channels, channels, 1)))
        self.last = conv_bn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.mean(x))  # type: ignore[no-any-return]


class GuidedAggregation(nn.Module):
    """Each branch gates the other, at its own size; their sum is at the finer one."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def refined() -> nn.Sequential:
            depthwise = conv_bn(channels, channels, groups=channels, act=None)
            return nn.Sequential(depthwise, nn.Conv2d(channels, channels, 1, bias=False))

        self.fine, self.coarse = refined(), refined()
        self.down = nn.Sequential(conv_bn(channels, channels, 3, 2, act=None), nn.AvgPool2d(3, 2, 1))
        self.up = conv_bn(channels, channels, act=None)
        self.last = conv_bn(channels, channels, act=None)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        at_fine = self.fine(fine) * torch.sigmoid(resized(self.up(coarse), fine))
        at_coarse = self.down(fine) * torch.sigmoid(self.coarse(coarse))
        return self.last(at_fine + resized(at_coarse, fine))  # type: ignore[no-any-return]


class BiSeNetV2(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W)."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            *(conv_bn(3, 64, 3, 2), conv_bn(64, 64)),
            *(conv_bn(64, 64, 3, 2), conv_bn(64, 64), conv_bn(64, 64)),
            *(conv_bn(64, 128, 3, 2), conv_bn(128, 128), conv_bn(128, 128)),
        )
        widths = ((16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2))
        stages = [GatherExpand(*width) for width in (*widths, *[(128, 128, 1)] * 3)]
        self.semantic = nn.Sequential(Stem(), *stages, Context(128))
        self.aggregate = GuidedAggregation(128)
        self.head = nn.Sequential(conv_bn(128, HEAD), nn.Conv2d(HEAD, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return resized(self.head(self.aggregate(self.detail(x), self.semantic(x))), x)
