"""Operations of a cell whose maps may be narrower than their weights: the first channels are used.

Slimmable networks (arXiv:1812.08928): one weight for all widths, a batch normalisation of its own for each.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from search.spaces.fasterseg.grid import SKIP


class SlimConv(nn.Module):
    """A convolution without bias: the channels of the map that comes, to as many as are asked for."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.stride, self.padding = stride, kernel // 2
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        weight = self.weight[:out_channels, : x.shape[1]]
        return functional.conv2d(x, weight, stride=self.stride, padding=self.padding)


class SlimNorm(nn.ModuleDict):
    """A batch normalisation a width; which one, the map says. ``channels``: of the widths."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__({str(count): nn.BatchNorm2d(count) for count in channels})

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.of(x.shape[1])(x)
        return normalised

    def of(self, channels: int) -> _BatchNorm:
        """That of a width."""
        norm = self[str(channels)]
        assert isinstance(norm, _BatchNorm)
        return norm


class SlimOperation(nn.Module):
    """One operation of a cell, as ``search.spaces.fasterseg.operations.cell_graph`` describes it.

    Args:
        in_channels: of the widest map that comes.
        out_channels: of maps that may be asked for, in rising order.
        down: whether it halves the map.
    """

    def __init__(self, operation: str, in_channels: int, out_channels: Sequence[int], *, down: bool) -> None:
        super().__init__()
        self.skips, self.zooms = operation == SKIP, operation.endswith("_downup")
        self.down = down
        full = out_channels[-1]
        if self.skips and down:
            self.even, self.odd = (SlimConv(in_channels, full // 2, 1, 2) for _ in range(2))
        else:
            kernel, stride = (1, 1) if self.skips else (3, 2 if down and not self.zooms else 1)
            self.first = SlimConv(in_channels, full, kernel, stride)
        self.norm = SlimNorm(out_channels)
        self.second: SlimConv | None = None
        if operation.startswith("conv_2x"):
            self.second, self.last_norm = SlimConv(full, full, 3), SlimNorm(out_channels)

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        """Map x (N, some channels, H, W) -> (N, out_channels, H or H / 2, W or W / 2)."""
        if self.skips and self.down:
            half = out_channels // 2
            both = self.even(x, half), self.odd(x[:, :, 1:, 1:], half)
            return functional.relu(self.norm(torch.cat(both, 1)))
        value = resized(x, (x.shape[2] // 2, x.shape[3] // 2)) if self.zooms else x
        value = self.norm(self.first(value, out_channels))
        if self.second is not None:
            value = self.last_norm(self.second(functional.relu(value), out_channels))
        if self.zooms and not self.down:
            value = resized(value, (x.shape[2], x.shape[3]))
        return functional.relu(value)


class MixedOperation(nn.Module):
    """The sum of operations, each times its chance; computed in turn."""

    def __init__(
        self, operations: Sequence[str], in_channels: int, out_channels: Sequence[int], *, down: bool
    ) -> None:
        super().__init__()
        self.down = down
        self.operations = nn.ModuleDict(
            {name: SlimOperation(name, in_channels, out_channels, down=down) for name in operations}
        )

    def forward(self, x: Tensor, chances: Tensor, out_channels: int) -> Tensor:
        """``chances``: (operations,)."""
        pairs = zip(chances, self, strict=True)
        terms: list[Tensor] = [chance * operation(x, out_channels) for chance, operation in pairs]
        return sum(terms[1:], terms[0])

    def __iter__(self) -> Iterator[SlimOperation]:
        """In order."""
        for operation in self.operations.values():
            assert isinstance(operation, SlimOperation)
            yield operation


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
