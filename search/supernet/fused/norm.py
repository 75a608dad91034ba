"""Batch normalisation of hidden maps by given statistics, and ReLU; forward and backward."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from search.supernet.fused.moments import pixels


class Norm:
    """Maps are (N, C, H, W), channels_last.

    Args:
        scale, shift, mean, var: (C,); the variance is biased.
    """

    def __init__(
        self, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor, *, epsilon: float, synchronised: bool
    ) -> None:
        self._scale, self._shift, self._mean, self._var = scale, shift, mean, var
        self._epsilon, self._synchronised = epsilon, synchronised
        self._inverse = torch.rsqrt(var + epsilon)

    def rectified(self, x: Tensor) -> Tensor:
        return functional.batch_norm(
            x, self._mean, self._var, self._scale, self._shift, eps=self._epsilon
        ).relu_()

    def backward(self, gradient: Tensor, rectified: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x, and of scale and shift (2, C), by that of ``rectified``, what x became.

        Neither ``gradient`` nor ``rectified`` can be used any more: their memory holds what is returned.
        """
        rectify_backward(gradient, rectified)
        _, to_scale, to_shift = torch.ops.aten.native_batch_norm_backward(
            *(gradient, x, self._scale, None, None, self._mean, self._inverse, True, self._epsilon),
            [False, True, True],
        )
        sums = torch.stack([to_scale, to_shift])
        factor, slope, offset = (values.to(x.dtype) for values in self._line(sums, x))
        rows = torch.addcmul(offset, rows_of(x), slope, out=rows_of(rectified))
        rows.addcmul_(rows_of(gradient), factor)
        return rectified, sums

    def _line(self, sums: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Factor, slope, offset: x's gradient is factor * that of the normalised map + slope * x + offset."""
        if self._synchronised:
            sums = sums.clone()
            dist.all_reduce(sums)
        through_var, through_mean = sums / pixels(x, self._synchronised)
        factor = self._scale * self._inverse
        slope = -factor * self._inverse * through_var
        return factor, slope, -factor * through_mean - slope * self._mean


def rectify_backward(gradient: Tensor, rectified: Tensor) -> None:
    """Of ReLU, in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, rectified, 0, grad_input=gradient)


def rows_of(x: Tensor) -> Tensor:
    """(N, C, H, W), channels_last -> (N*H*W, C), a view."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)
