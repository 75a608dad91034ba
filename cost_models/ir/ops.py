"""The operations a network is made of: shapes, MACs and parameters. Plain data, no framework.

Feature maps are NCHW. An op knows what it does to shapes, how much work that is and of what sort, and what it
fuses with. How it is written in ONNX stands in ``onnx_io.exporter``, how it is read in ``onnx_io.ops``, and
how it runs in PyTorch in ``search.networks.graph_module``. CONTRIBUTING.md tells how to add one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from cost_models.errors import InvalidGraph
from cost_models.ir.foreign import Foreign as Foreign
from cost_models.ir.op import Op as Op
from cost_models.ir.op import Pattern, Sort, WorkKind
from cost_models.ir.op import Shape as Shape
from cost_models.ir.peaks import AroundPeak as AroundPeak
from cost_models.ir.peaks import PeakPoints as PeakPoints
from cost_models.ir.peaks import PlaceOfMax as PlaceOfMax
from cost_models.ir.peaks import RowMax as RowMax
from cost_models.ir.peaks import TakeRow as TakeRow
from cost_models.ir.pooling import AvgPool2d as AvgPool2d
from cost_models.ir.pooling import GlobalAvgPool as GlobalAvgPool
from cost_models.ir.pooling import MaxPool2d as MaxPool2d

ActivationKind = Literal["relu", "relu6", "hswish", "sigmoid", "hsigmoid"]


@dataclass(frozen=True)
class Conv2d(Op):
    """2-D convolution; ``padding`` is symmetric, in pixels. Weight: (out, in / groups, kernel, kernel)."""

    pattern: ClassVar[Pattern] = "out_elementwise_fusable"
    sort: ClassVar[Sort] = "macs"

    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "kernel", "stride", "dilation", "groups"):
            if getattr(self, name) < 1:
                raise InvalidGraph(f"convolution: {name} is {getattr(self, name)}, must be at least 1")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise InvalidGraph(
                f"convolution {self.in_channels}->{self.out_channels}: groups={self.groups} must divide both"
            )

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels and self.groups > 1

    @property
    def work_kind(self) -> WorkKind:
        if self.groups == 1:
            return "pointwise" if self.kernel == 1 else "dense"
        return "depthwise" if self.is_depthwise else "grouped"

    @property
    def label(self) -> str:
        name = "dw" if self.is_depthwise else "conv"
        stride = f"s{self.stride}" if self.stride > 1 else ""
        dilation = f"d{self.dilation}" if self.dilation > 1 else ""
        groups = f"g{self.groups}" if self.groups > 1 and not self.is_depthwise else ""
        return f"{name}{self.kernel}x{self.kernel}{stride}{dilation}{groups}"

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, *spatial = inputs[0]
        if channels != self.in_channels:
            raise InvalidGraph(f"convolution takes {self.in_channels} channels, got {channels}")
        reach = self.dilation * (self.kernel - 1) + 1
        height, width = ((n + 2 * self.padding - reach) // self.stride + 1 for n in spatial)
        if min(height, width) < 1:
            raise InvalidGraph(f"a {reach}-pixel window does not fit a map of {spatial[0]}x{spatial[1]}")
        return batch, self.out_channels, height, width

    def macs(self, output: Shape) -> int:
        return math.prod(output) * (self.in_channels // self.groups) * self.kernel**2

    def parameters(self) -> dict[str, Shape]:
        weight = (self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel)
        return {"weight": weight} | ({"bias": (self.out_channels,)} if self.bias else {})


@dataclass(frozen=True)
class BatchNorm2d(Op):
    """Batch normalisation over channels; at inference it is folded into the convolution before it."""

    pattern: ClassVar[Pattern] = "elementwise"
    sort: ClassVar[Sort] = "elementwise"

    channels: int
    epsilon: float = 1e-5

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        if inputs[0][1] != self.channels:
            raise InvalidGraph(f"batch normalisation of {self.channels} channels, got {inputs[0][1]}")
        return inputs[0]

    def parameters(self) -> dict[str, Shape]:
        return {"weight": (self.channels,), "bias": (self.channels,)}

    def buffers(self) -> dict[str, Shape]:
        return {"running_mean": (self.channels,), "running_var": (self.channels,)}


@dataclass(frozen=True)
class Activation(Op):
    """Elementwise non-linearity; hswish and hsigmoid as in MobileNetV3 (section 5.2): relu6(x + 3) / 6."""

    pattern: ClassVar[Pattern] = "elementwise"
    sort: ClassVar[Sort] = "elementwise"

    kind: ActivationKind = "relu"

    @property
    def label(self) -> str:
        return self.kind


@dataclass(frozen=True)
class Add(Op):
    """Sum of two maps of equal shape."""

    pattern: ClassVar[Pattern] = "elementwise"
    sort: ClassVar[Sort] = "elementwise"
    arity: ClassVar[int | None] = 2

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        if inputs[0] != inputs[1]:
            raise InvalidGraph(f"cannot add maps of {inputs[0]} and {inputs[1]}")
        return inputs[0]


@dataclass(frozen=True)
class Mul(Op):
    """Product of a map and a map of the same shape or of one value a channel."""

    pattern: ClassVar[Pattern] = "elementwise"
    sort: ClassVar[Sort] = "elementwise"
    arity: ClassVar[int | None] = 2

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        full, gate = inputs
        if gate not in (full, (*full[:2], 1, 1)):
            raise InvalidGraph(f"cannot scale a map of {full} by one of {gate}")
        return full


@dataclass(frozen=True)
class Concat(Op):
    """Maps of one spatial size, stacked along channels."""

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "moves"
    arity: ClassVar[int | None] = None

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, _, *spatial = inputs[0]
        if any((s[0], *s[2:]) != (batch, *spatial) for s in inputs):
            raise InvalidGraph(f"cannot concatenate maps of {', '.join(map(str, inputs))}")
        return batch, sum(s[1] for s in inputs), *spatial


@dataclass(frozen=True)
class Standardize(Op):
    """Less the mean of its channel, over its deviation: batch normalisation without scale and shift.

    For what no convolution makes, into which it could be folded.
    """

    pattern: ClassVar[Pattern] = "elementwise"
    sort: ClassVar[Sort] = "elementwise"

    channels: int
    epsilon: float = 1e-5

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        if inputs[0][1] != self.channels:
            raise InvalidGraph(f"statistics of {self.channels} channels, got {inputs[0][1]}")
        return inputs[0]

    def buffers(self) -> dict[str, Shape]:
        return {"running_mean": (self.channels,), "running_var": (self.channels,)}


@dataclass(frozen=True)
class Resize(Op):
    """Bilinear resize to the spatial size of another value, or to ``size`` where that is given."""

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "resizes"

    align_corners: bool
    size: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        return "resize.corners" if self.align_corners else "resize"

    def pinned(self, size: tuple[int, int]) -> "Resize":
        return replace(self, size=size)

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        size = self.size or size
        if size is None:
            raise InvalidGraph("resize has no size")
        return *inputs[0][:2], *size


@dataclass(frozen=True)
class Expand(Op):
    """A map of 1x1 pixels spread to the spatial size of another value, or to ``size``."""

    pattern: ClassVar[Pattern] = "broadcast"
    sort: ClassVar[Sort] = "resizes"

    size: tuple[int, int] | None = None

    def pinned(self, size: tuple[int, int]) -> "Expand":
        return replace(self, size=size)

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        size = self.size or size
        if size is None or inputs[0][2:] != (1, 1):
            raise InvalidGraph(f"cannot expand a map of {inputs[0]} to {size}")
        return *inputs[0][:2], *size


@dataclass(frozen=True)
class ShiftByOne(Op):
    """The map without its first row and column, ready for a 1x1 convolution of stride 2.

    An even side loses its first pixel; an odd side also gains a zero at the end, so that the strided
    convolution gives as many pixels as on the unshifted map (the authors' networks allow even sides only).
    """

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "moves"

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, height, width = inputs[0]
        return batch, channels, height - 1 + height % 2, width - 1 + width % 2


@dataclass(frozen=True)
class Pad(Op):
    """Zeros at the right and at the bottom, until both sides are multiples of a number, or ``size``."""

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "moves"

    multiple: int = 1
    size: tuple[int, int] | None = None

    def pinned(self, size: tuple[int, int]) -> "Pad":
        return Pad(size=size)

    def is_idle(self, inputs: Sequence[Shape], output: Shape) -> bool:
        return tuple(inputs[0]) == output

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, *sides = inputs[0]
        height, width = self.size or (-(-side // self.multiple) * self.multiple for side in sides)
        if height < sides[0] or width < sides[1]:
            raise InvalidGraph(f"cannot pad a map of {inputs[0]} to {height}x{width}")
        return batch, channels, height, width


@dataclass(frozen=True)
class Crop(Op):
    """The upper left corner, as large as another value or as ``size``."""

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "moves"

    size: tuple[int, int] | None = None

    def pinned(self, size: tuple[int, int]) -> "Crop":
        return Crop(size)

    def is_idle(self, inputs: Sequence[Shape], output: Shape) -> bool:
        return tuple(inputs[0]) == output

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, *sides = inputs[0]
        size = self.size or size
        if size is None or size[0] > sides[0] or size[1] > sides[1]:
            raise InvalidGraph(f"cannot crop a map of {inputs[0]} to {size}")
        return batch, channels, *size


@dataclass(frozen=True)
class Normalize(Op):
    """A camera's frame as the network wants it: uint8 (N, H, W, 3) RGB -> float32 (N, 3, H, W).

    ``mean`` and ``std`` are of pixel values scaled to 0..1.
    """

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "moves"
    input_dtype: ClassVar[str] = "uint8"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, height, width, channels = inputs[0]
        if channels != 3:
            raise InvalidGraph(f"a frame has 3 channels (RGB), got {channels}")
        return batch, 3, height, width


@dataclass(frozen=True)
class ArgMax(Op):
    """Index of the largest channel, the first of equals: float32 (N, C, H, W) -> int64 (N, H, W)."""

    pattern: ClassVar[Pattern] = "out_elementwise_fusable"
    sort: ClassVar[Sort] = "reductions"
    output_dtype: ClassVar[str] = "int64"

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, height, width = inputs[0]
        if channels > 256:
            raise InvalidGraph(f"class indices are 8 bits wide: at most 256 classes, got {channels}")
        return batch, height, width


@dataclass(frozen=True)
class ToByte(Op):
    """int64 -> uint8."""

    pattern: ClassVar[Pattern] = "elementwise"
    sort: ClassVar[Sort] = "elementwise"
    input_dtype: ClassVar[str] = "int64"
    output_dtype: ClassVar[str] = "uint8"


@dataclass(frozen=True)
class Plane(Op):
    """A map of one channel without it: (N, 1, H, W) -> (N, H, W), float32 whatever the network's type.

    The dtype is numpy's other name of float32, which stays where maps become float16.
    """

    pattern: ClassVar[Pattern] = "injective"
    sort: ClassVar[Sort] = "moves"
    output_dtype: ClassVar[str] = "single"

    def output_shape(self, inputs: Sequence[Shape], size: tuple[int, int] | None) -> Shape:
        batch, channels, height, width = inputs[0]
        if channels != 1:
            raise InvalidGraph(f"a plane is of a map of 1 channel, got {channels}")
        return batch, height, width


# Every operation by its name, as descriptions of kernels have it
OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(Conv2d, BatchNorm2d, Activation, Add, Mul, Concat, AvgPool2d, GlobalAvgPool, Resize, Expand),
        *(MaxPool2d, Standardize, ShiftByOne, Pad, Crop, Normalize, ArgMax, ToByte, Plane, Foreign),
        *(RowMax, PlaceOfMax, TakeRow, AroundPeak, PeakPoints),
    )
}
