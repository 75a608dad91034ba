"""What several of these networks have in common. Maps are (N, C, H, W)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[], nn.Module] | None


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the size, divided by the stride."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    act: Activation = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch normalisation and what follows them."""
    layers = [conv(inputs, outputs, kernel, stride, groups=groups, dilation=dilation)]
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), *([act()] if act else []))


def bn_conv(inputs: int, outputs: int, kernel: int = 3, *, groups: int = 1) -> nn.Sequential:
    """Batch normalisation and ReLU before the convolution."""
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), conv(inputs, outputs, kernel, groups=groups))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 3x3, then pointwise, each with batch normalisation and ReLU."""
    return nn.Sequential(conv_bn(inputs, inputs, 3, stride, groups=inputs), conv_bn(inputs, outputs, 1))


class InvertedResidual(nn.Module):
    """Pointwise up, depthwise, pointwise down without activation (MobileNetV2, arXiv:1801.04381).

    Args:
        hidden: channels between; where they are the inputs, the first pointwise convolution is not there.
        gate: of those channels, such as squeeze and excite.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        act: Activation = nn.ReLU6,
        gate: nn.Module | None = None,
    ) -> None:
        super().__init__()
        up = [conv_bn(inputs, hidden, 1, act=act)] if hidden != inputs else []
        depthwise = conv_bn(hidden, hidden, kernel, stride, groups=hidden, dilation=dilation, act=None)
        last = [depthwise, *([gate] if gate else []), *([act()] if act else [])]
        self.layers = nn.Sequential(*up, *last, conv_bn(hidden, outputs, 1, act=None))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layers(x)
        return x + made if self.adds else made


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet, arXiv:1512.03385).

    Args:
        last: whether a ReLU follows the sum.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, last: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, act=None))
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.last = nn.ReLU() if last else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x) + self.shortcut(x))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to twice as many channels, and a shortcut; no ReLU after the sum."""

    def __init__(self, inputs: int, middle: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_bn(inputs, middle, 1),
            conv_bn(middle, middle, 3, stride),
            conv_bn(middle, 2 * middle, 1, act=None),
        )
        self.shortcut = _shortcut(inputs, 2 * middle, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)  # type: ignore[no-any-return]


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return conv_bn(inputs, outputs, 1, stride, act=None)


def basics(inputs: int, outputs: int, count: int, stride: int = 1) -> nn.Sequential:
    """Basic blocks in a row; the last sum has no ReLU."""
    first = Basic(inputs, outputs, stride, last=count == 1)
    more = [Basic(outputs, outputs, last=index < count - 1) for index in range(1, count)]
    return nn.Sequential(first, *more)


class Pooled(nn.Module):
    """The mean over everything, or over windows of ``kernel`` by ``stride``, then layers."""

    def __init__(self, layers: nn.Module, kernel: int | None = None, stride: int | None = None) -> None:
        super().__init__()
        self.kernel, self.stride, self.layers = kernel, stride, layers

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel is None:
            x = functional.adaptive_avg_pool2d(x, 1)
        else:
            x = functional.avg_pool2d(x, self.kernel, self.stride, self.kernel // 2)
        return self.layers(x)  # type: ignore[no-any-return]


class PreActivatedHead(nn.Module):
    """Logits by two convolutions with batch normalisation and ReLU before each."""

    def __init__(self, inputs: int, middle: int, classes: int) -> None:
        super().__init__()
        classify = nn.Conv2d(middle, classes, 1)
        self.layers = nn.Sequential(bn_conv(inputs, middle), nn.BatchNorm2d(middle), nn.ReLU(), classify)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class BinnedMean(nn.Module):
    """Means over a grid of ``bins`` by ``bins`` windows, which need not divide the map.

    By two products with constant matrices: ONNX has average pooling for windows of one size alone.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        height, width = int(x.shape[2]), int(x.shape[3])
        if self.bins == 1:
            return functional.adaptive_avg_pool2d(x, 1)
        if height % self.bins == width % self.bins == 0:
            return functional.avg_pool2d(x, (height // self.bins, width // self.bins))
        down, across = (x.new_tensor(_shares(side, self.bins)) for side in (height, width))
        return down @ x @ across.T


def _shares(side: int, bins: int) -> list[list[float]]:
    """(bins, side): what each pixel has in each mean."""
    windows = [(i * side // bins, -(-(i + 1) * side // bins)) for i in range(bins)]
    return [[float(first <= at < end) / (end - first) for at in range(side)] for first, end in windows]


def resized(x: Tensor, like: Tensor, *, nearest: bool = False) -> Tensor:
    """``x`` at the height and width of ``like``, bilinear unless ``nearest``."""
    size = like.shape[2:]
    if nearest:
        return functional.interpolate(x, size, mode="nearest")
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw weights, and let the batch normalisations see random images; returns it, for inference.

    So values neither vanish nor explode.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0, 0.1, generator=generator)
            module.momentum = 1.0
    normalisations = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    if normalisations:
        network.train()(torch.randn(2, 3, 128, 256, generator=generator))
    for module in normalisations:
        if module.running_var is not None:  # of means over a map there are two, which may be all but the same
            module.running_var.clamp_(min=0.5 * float(module.running_var.mean()))
    return network.eval()
