"""The passes over hidden maps made by PyTorch's compiler: each reads and writes the maps once.

Made for any size at once, so that nothing is compiled again when candidates are removed. The convolutions
and matrix products in between are calls of libraries, which it would leave as they are.
"""

import torch
from torch import Tensor

from search.supernet.fused.norm import Norm, rows_of


class CompiledNorm(Norm):
    """The same numbers as ``Norm``, within rounding."""

    def rectified(self, x: Tensor) -> Tensor:
        factor = self._scale * self._inverse
        rows = _rectified(rows_of(x), factor, self._shift - self._mean * factor)
        return rows.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)

    def backward(self, gradient: Tensor, rectified: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = rows_of(gradient), rows_of(rectified), rows_of(x)
        sums = _sums(*maps, self._mean, self._inverse)
        _to_x(*maps, *self._line(sums, x))
        return rectified, sums


@torch.compile(dynamic=True)
def _rectified(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    return (x * factor + offset).relu().to(x.dtype)


@torch.compile(dynamic=True)
def _sums(gradient: Tensor, rectified: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    passed = torch.where(rectified > 0, gradient, 0).to(mean.dtype)
    return torch.stack([(passed * ((x - mean) * inverse)).sum(0), passed.sum(0)])


@torch.compile(dynamic=True)
def _to_x(
    gradient: Tensor, rectified: Tensor, x: Tensor, factor: Tensor, slope: Tensor, offset: Tensor
) -> None:
    passed = torch.where(rectified > 0, gradient, 0)
    rectified.copy_(passed * factor + x * slope + offset)
