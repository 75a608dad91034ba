"""Depthwise convolutions and their gradients; that of the weight is fast on CPUs for 5x5 kernels too.

oneDNN has a fast one for kernels up to 3 wide; for wider ones it falls back to code that is 20 times slower.
The gradient of a 5x5 kernel is therefore put together from kernels 3 wide. In channels_last, columns 2u and
2u + 1 of a map of C channels are column u of a map of 2C channels, without a copy: taps two columns apart
become neighbours.

Maps are (N, C, H, W), channels_last; weights (C, 1, k, k); padding is such that stride 1 keeps the size.
"""

import torch
from torch import Tensor
from torch.nn import functional


def depthwise(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """The convolution."""
    padding = weight.shape[-1] // 2 * dilation
    wide = functional.conv2d(x, weight, None, stride, padding, dilation, len(weight))
    return wide.contiguous(memory_format=torch.channels_last)


def depthwise_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the weight."""
    if (
        x.device.type == "cpu" and dilation > 1 and x.dtype == torch.bfloat16
    ):  # see search.networks.dilated_conv
        wide = depthwise_backward(gradient.float(), x.float(), weight.float(), stride, dilation)
        return wide[0].to(x.dtype), wide[1].to(x.dtype)
    apart = x.device.type == "cpu" and weight.shape[-1] == 5 and dilation == 1 and stride <= 2
    padding = weight.shape[-1] // 2 * dilation
    to_x, to_weight = _backward(gradient, x, weight, (stride, stride), padding, padding, dilation, not apart)
    if apart:
        to_weight = _weight_gradient(gradient, x, stride).unsqueeze(1)
    return to_x.contiguous(memory_format=torch.channels_last), to_weight


def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    strides: tuple[int, int],
    vertical: int,
    horizontal: int,
    dilation: int,
    of_weight: bool,
    of_x: bool = True,
) -> tuple[Tensor, Tensor]:
    to_x, to_weight, _ = torch.ops.aten.convolution_backward(
        *(gradient, x, weight, None, strides, (vertical, horizontal), (dilation, dilation), False, (0, 0)),
        *(len(weight), (of_x, of_weight, False)),
    )
    return to_x, to_weight


def _weight_gradient(gradient: Tensor, x: Tensor, stride: int) -> Tensor:
    """(C, 5, 5), for a stride of 1 or 2."""
    x = _even(x)
    if stride == 1:
        gradient = _even(gradient)
        left, right = _three_wide(_paired(gradient), _paired(x), 1).chunk(2)
        outer, inner = left + right, _three_wide(gradient, x, 1)
        columns = [outer[..., 0], inner[..., 0], outer[..., 1], inner[..., 2], outer[..., 2]]
    else:
        left, right = _three_wide(torch.cat([gradient, gradient], 1), _paired(x), stride).chunk(2)
        columns = [left[..., 0], right[..., 0], left[..., 1], right[..., 1], left[..., 2]]
    return torch.stack(columns, -1)


def _even(x: Tensor) -> Tensor:
    """With a column of zeros at the right if there are oddly many; channels_last."""
    x = functional.pad(x, (0, 1)) if x.shape[3] % 2 else x
    return x.contiguous(memory_format=torch.channels_last)


def _paired(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2C, H, W/2), both channels_last: a view."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, height, width // 2, 2 * channels).permute(0, 3, 1, 2)


def _three_wide(gradient: Tensor, x: Tensor, vertical_stride: int) -> Tensor:
    """Gradient (C, 5, 3) of a kernel 5 high and 3 wide."""
    weight = x.new_empty(x.shape[1], 1, 5, 3)
    _, to_weight = _backward(gradient, x, weight, (vertical_stride, 1), 2, 1, 1, True, of_x=False)
    return to_weight.squeeze(1)
