"""ENet: "A Deep Neural Network Architecture for Real-Time Semantic Segmentation", arXiv:1606.02147, table 1.

Max-unpooling is written without indices: PyTorch's exporter has no ``max_unpool2d``, and TVM's importer gives
no indices of a MaxPool. Of each 2x2 window four maps tell which pixel was the (first) maximum; they are
multiplied with the value that goes back, and interleaved (``pixel_shuffle``). The values are those of
``max_unpool2d``. Where two pixels are equal but for rounding, run-times may take either, and a patch around
them differs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

INTERNAL = 4  # by which the blocks divide their channels


def _unit(
    inputs: int, outputs: int, kernel: int | tuple[int, int], act: type[nn.Module], dilation: int = 1
) -> list[nn.Module]:
    tall, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (tall // 2), dilation * (wide // 2))
    layer = nn.Conv2d(inputs, outputs, (tall, wide), padding=padding, dilation=dilation, bias=False)
    return [layer, *_normal(outputs, act)]


def _normal(channels: int, act: type[nn.Module]) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.PReLU(channels) if act is nn.PReLU else act()]


class Initial(nn.Module):
    """13 channels by a convolution and 3 by max pooling, at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 13, 3, 2, 1, bias=False), nn.MaxPool2d(2)
        self.last = nn.Sequential(*_normal(16, nn.PReLU))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.conv(x), self.pool(x)], 1))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Regular, dilated or asymmetric: pointwise down, a convolution, pointwise up, added to the map."""

    def __init__(self, channels: int, act: type[nn.Module], dilation: int = 1, *, tall: bool = False) -> None:
        super().__init__()
        inner = channels // INTERNAL
        if tall:
            first = nn.Conv2d(inner, inner, (5, 1), padding=(2, 0), bias=False)
            middle = [first, *_unit(inner, inner, (1, 5), act)]
        else:
            middle = _unit(inner, inner, 3, act, dilation)
        last = [nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*_unit(channels, inner, 1, act), *middle, *last)
        self.act = nn.PReLU(channels) if act is nn.PReLU else act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.layers(x))  # type: ignore[no-any-return]


class Down(nn.Module):
    """Halves the map; gives where its maxima were, too. New channels of the shortcut are zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = outputs // INTERNAL
        first = [nn.Conv2d(inputs, inner, 2, 2, bias=False), *_normal(inner, nn.PReLU)]
        last = [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.layers = nn.Sequential(*first, *_unit(inner, inner, 3, nn.PReLU), *last)
        self.act, self.more = nn.PReLU(outputs), outputs - inputs

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        pooled = functional.max_pool2d(x, 2)
        wider = functional.pad(pooled, (0, 0, 0, 0, 0, self.more))
        return self.act(wider + self.layers(x)), first_maxima(x, pooled)


def first_maxima(x: Tensor, pooled: Tensor) -> list[Tensor]:
    """For each pixel of the 2x2 windows, by rows, 1 where it is the first maximum, else 0."""
    found: list[Tensor] = []
    for row in (0, 1):
        for column in (0, 1):
            here = (x[:, :, row::2, column::2] == pooled).to(x.dtype)
            found.append(here * (1 - sum(found)))
    return found


def unpooled(values: Tensor, maxima: list[Tensor]) -> Tensor:
    """Each value where the maximum of its window was, zeros elsewhere: (N, C, H, W) to (N, C, 2H, 2W)."""
    count, channels, height, width = values.shape
    placed = torch.stack([values * here for here in maxima], 2)
    shuffled = placed.reshape(count, 4 * channels, height, width)
    return functional.pixel_shuffle(shuffled, 2)


class Up(nn.Module):
    """Doubles the map, by unpooling and by a transposed convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = outputs // INTERNAL
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        middle = nn.ConvTranspose2d(inner, inner, 3, 2, 1, output_padding=1, bias=False)
        last = [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.layers = nn.Sequential(
            *_unit(inputs, inner, 1, nn.ReLU), middle, *_normal(inner, nn.ReLU), *last
        )

    def forward(self, x: Tensor, maxima: list[Tensor]) -> Tensor:
        return functional.relu(unpooled(self.main(x), maxima) + self.layers(x))


def _section() -> list[nn.Module]:
    """Bottlenecks 2.1 to 2.8, and 3.1 to 3.8."""
    blocks: list[nn.Module] = []
    for dilations in ((2, 4), (8, 16)):
        first, second = (Block(128, nn.PReLU, dilation) for dilation in dilations)
        blocks += [Block(128, nn.PReLU), first, Block(128, nn.PReLU, tall=True), second]
    return blocks


class ENet(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W)."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.initial, self.down1, self.down2 = Initial(), Down(16, 64), Down(64, 128)
        self.stage1 = nn.Sequential(*(Block(64, nn.PReLU) for _ in range(4)))
        self.stage2 = nn.Sequential(*_section(), *_section())
        self.up4, self.stage4 = Up(128, 64), nn.Sequential(Block(64, nn.ReLU), Block(64, nn.ReLU))
        self.up5, self.stage5 = Up(64, 16), Block(16, nn.ReLU)
        self.last = nn.ConvTranspose2d(16, classes, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, maxima1 = self.down1(self.initial(x))
        x, maxima2 = self.down2(self.stage1(x))
        x = self.stage4(self.up4(self.stage2(x), maxima2))
        return self.last(self.stage5(self.up5(x, maxima1)))  # type: ignore[no-any-return]
