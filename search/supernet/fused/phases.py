"""Pixels of a map (N, H, W, C) rearranged so that a dilated convolution of them is one without dilation."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Phases:
    """Of a depthwise convolution of this stride and dilation, padded so that stride 1 keeps the size.

    - Dilation d at stride 1 is no dilation on the d * d phases of the map, where d divides its size.
    - Dilation d at stride d reads one phase alone.
    - Else the map stays as it is.
    """

    stride: int
    dilation: int

    def split(self, maps: Tensor) -> Tensor:
        """(N, H, W, C) -> the map to convolve, phase by phase: (d * d * N or N, H/d, W/d, C)."""
        if not self._apply(maps):
            return maps
        if self.stride > 1:
            return maps[:, :: self.stride, :: self.stride].contiguous()
        batch, height, width, channels = maps.shape
        d = self.dilation
        parts = maps.reshape(batch, height // d, d, width // d, d, channels).permute(2, 4, 0, 1, 3, 5)
        return parts.reshape(-1, height // d, width // d, channels)

    def window(self, maps: Tensor) -> tuple[int, int]:
        """Stride and dilation on what ``split`` makes of ``maps``."""
        return (1, 1) if self._apply(maps) else (self.stride, self.dilation)

    def merge(self, convolved: Tensor, maps: Tensor) -> Tensor:
        """What became of ``split(maps)``, as if ``maps`` itself had been convolved."""
        if not self._apply(maps) or self.stride > 1:
            return convolved
        d = self.dilation
        batch, height, width, _ = maps.shape
        parts = convolved.view(d, d, batch, height // d, width // d, -1).permute(2, 3, 0, 4, 1, 5)
        return parts.reshape(batch, height, width, -1)

    def unmerge(self, gradient: Tensor, maps: Tensor) -> Tensor:
        """Adjoint of ``merge``."""
        return self.split(gradient) if self.stride == 1 and self._apply(maps) else gradient

    def add_unsplit(self, total: Tensor, gradient: Tensor) -> None:
        """Add to ``total``, which is like ``maps``, what the adjoint of ``split`` makes of ``gradient``."""
        if self.stride > 1 and self._apply(total):
            total[:, :: self.stride, :: self.stride] += gradient
        else:
            total += self.merge(gradient, total)

    def _apply(self, maps: Tensor) -> bool:
        if self.dilation == 1:
            return False
        divides = maps.shape[1] % self.dilation == 0 and maps.shape[2] % self.dilation == 0
        return self.stride == self.dilation or (self.stride == 1 and divides)
