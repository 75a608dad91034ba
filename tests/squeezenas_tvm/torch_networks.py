"""Three networks as people write them, for ``predict`` on what PyTorch exports."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size, and its batch normalisation."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class UNet(nn.Module):
    """Max pooling down, transposed convolutions up, concatenated skips."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.fine, self.middle, self.coarse = self.two(3, 8), self.two(8, 16), self.two(16, 32)
        self.up1, self.up2 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.join1, self.join2 = self.two(32, 16), self.two(16, 8)
        self.classify = nn.Conv2d(8, 4, 1)

    @staticmethod
    def two(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(*conv(inputs, outputs), nn.ReLU(), *conv(outputs, outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        middle = self.middle(self.pool(fine))
        coarse = self.coarse(self.pool(middle))
        middle = self.join1(torch.cat([self.up1(coarse), middle], 1))
        found: Tensor = self.classify(self.join2(torch.cat([self.up2(middle), fine], 1)))
        return found


class MobileNet(nn.Module):
    """Inverted residuals with ReLU6 and SiLU, a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(3, 16, 3, 2), nn.ReLU6())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(*conv(i, 4 * i, 1), nn.ReLU6()),
                *(*conv(4 * i, 4 * i, 3, stride, 4 * i), nn.SiLU()),
                *conv(4 * i, o, 1),
            )
            for i, o, stride in ((16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1))
        )
        self.classify = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            made = block(x)
            x = x + made if x.shape == made.shape else made
        found: Tensor = self.classify(x.mean((2, 3)))
        return found


class TwoBranches(nn.Module):
    """A fine and a coarse branch, attention, oblong windows, resizes, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(*conv(3, 8, 3, 2), nn.LeakyReLU(), *conv(8, 16, 3, 2), nn.LeakyReLU())
        self.coarse = nn.Sequential(*conv(3, 8, 3, 2), nn.ReLU(), nn.AvgPool2d(2), *conv(8, 32, 3, 2))
        self.row = nn.Conv2d(32, 32, (1, 3), padding=(0, 1))
        self.column = nn.Sequential(
            nn.Conv2d(32, 32, (3, 1), padding=(1, 0)), nn.BatchNorm2d(32), nn.PReLU(32)
        )
        self.attention = nn.Conv2d(32, 32, 1)
        self.narrow, self.classify = nn.Conv2d(32, 16, 1), nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.fine(x), self.column(self.row(self.coarse(x)))
        coarse = coarse * torch.sigmoid(self.attention(functional.adaptive_avg_pool2d(coarse, 1)))
        coarse = functional.interpolate(self.narrow(coarse), size=fine.shape[2:], mode="bilinear")
        logits = self.classify(torch.cat([fine, coarse], 1))
        return functional.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=True).argmax(1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "unet": UNet,
    "mobilenet": MobileNet,
    "twobranches": TwoBranches,
}


def export(name: str, path: Path, size: tuple[int, int], *, open_sizes: bool = False) -> Path:
    """Write one of the networks as PyTorch does; batch normalisation stays where sizes are open."""
    dynamic = {"x": {0: "n", 2: "h", 3: "w"}} if open_sizes else None
    torch.onnx.export(
        NETWORKS[name]().eval(),
        (torch.zeros(1, 3, *size),),
        path,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=dynamic,
        opset_version=17,
        do_constant_folding=not open_sizes,
        dynamo=False,
    )
    return path


def macs(name: str, size: tuple[int, int]) -> int:
    """Multiply-accumulates of its layers, counted where PyTorch runs them."""
    network, counted = NETWORKS[name]().eval(), []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counted.append(output[:, 0].numel() * module.weight.numel())
        elif isinstance(module, nn.ConvTranspose2d):
            counted.append(inputs[0][:, 0].numel() * module.weight.numel())
        elif isinstance(module, nn.Linear):
            counted.append(module.weight.numel())

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, *size))
    return sum(counted)
