"""Pooling: operations that make one value of a window. See ``ops``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cost_models.errors import InvalidGraph
from cost_models.ir.op import Op, Pattern, Shape, Sort


@dataclass(frozen=True)
class AvgPool2d(Op):
    """Average over windows, no padding. Kernel and stride are clamped to maps smaller than the kernel."""

    pattern: ClassVar[Pattern] = "out_elementwise_fusable"
    sort: ClassVar[Sort] = "reductions"

    kernel: tuple[int, int]
    stride: tuple[int, int]

    @property
    def label(self) -> str:
        return f"pool{self.kernel[0]}x{self.kernel[1]}"

    def window(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Kernel and stride really used on a map of this size."""
        kernel = min(self.kernel[0], height), min(self.kernel[1], width)
        return kernel, (min(self.stride[0], kernel[0]), min(self.stride[1], kernel[1]))

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, height, width = inputs[0]
        kernel, stride = self.window(height, width)
        return batch, channels, (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1


@dataclass(frozen=True)
class MaxPool2d(Op):
    """Largest value of square windows; ``padding`` is symmetric, in pixels, and never the largest."""

    pattern: ClassVar[Pattern] = "out_elementwise_fusable"
    sort: ClassVar[Sort] = "reductions"

    kernel: int
    stride: int
    padding: int

    @property
    def label(self) -> str:
        return f"max{self.kernel}x{self.kernel}" + (f"s{self.stride}" if self.stride > 1 else "")

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, *sides = inputs[0]
        made = [(side + 2 * self.padding - self.kernel) // self.stride + 1 for side in sides]
        if min(made) < 1:
            raise InvalidGraph(f"a {self.kernel}-pixel window does not fit a map of {sides[0]}x{sides[1]}")
        return batch, channels, *made

    def comparisons(self, output: Shape) -> int:
        return math.prod(output) * self.kernel**2


@dataclass(frozen=True)
class GlobalAvgPool(Op):
    """Average over the whole map: (N, C, H, W) -> (N, C, 1, 1)."""

    pattern: ClassVar[Pattern] = "out_elementwise_fusable"
    sort: ClassVar[Sort] = "reductions"

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        return *inputs[0][:2], 1, 1
