"""Transposed convolutions as convolutions and shuffles: the same numbers as PyTorch's."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from cost_models.ir.sub_pixel import sub_pixel, sub_pixel_weights

HEIGHT, WIDTH = 3, 4


def made(
    x: torch.Tensor,
    weights: torch.Tensor,
    stride: tuple[int, int],
    cut: list[int],
    more: list[int],
    groups: int,
) -> torch.Tensor:
    """By a convolution of the small map, its channels shuffled into the large one."""
    plan = sub_pixel(x.shape[2:], weights.shape[2:], stride, cut, more)
    assert plan is not None
    pads = (plan.before[1], plan.after[1], plan.before[0], plan.after[0])
    filters = torch.from_numpy(sub_pixel_weights(weights.numpy(), plan, groups))
    assert filters.shape[2:] == plan.taps
    y = functional.conv2d(functional.pad(x, pads), filters, groups=groups)
    assert y.shape[2:] == plan.conv_size
    (rows, columns), (first_y, first_x), (step_y, step_x) = plan.conv_size, plan.first, plan.stride
    y = y.reshape(len(y), -1, step_y, step_x, rows, columns).permute(0, 1, 4, 2, 5, 3)
    y = y.reshape(len(y), -1, rows * step_y, columns * step_x)
    assert plan.is_plain == (y.shape[2:] == plan.size and plan.phases == 1)
    return y[:, :, first_y : first_y + plan.size[0], first_x : first_x + plan.size[1]]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7, 16])
def test_the_same_as_pytorch_says(kernel: int) -> None:
    tried = 0
    for stride, cut, more, groups in itertools.product((1, 2, 3, 8), range(5), range(3), (1, 2)):
        if more >= stride and more:
            continue  # nothing says what that is
        weights, x = torch.randn(4, 3, kernel, kernel), torch.randn(2, 4, HEIGHT, WIDTH)
        try:
            wanted = functional.conv_transpose2d(x, weights, None, stride, cut, (more, 0), groups)
        except RuntimeError:
            wanted = torch.empty(0)
        if not wanted.numel():  # padding cuts off all
            assert sub_pixel(x.shape[2:], weights.shape[2:], (stride,) * 2, [cut] * 4, (more, 0)) is None
            continue
        found = made(x, weights, (stride, stride), [cut] * 4, [more, 0], groups)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        tried += 1
    assert tried > 20


def test_sides_are_on_their_own() -> None:
    weights, x = torch.randn(2, 3, 3, 6), torch.randn(1, 2, HEIGHT, WIDTH)
    wanted = functional.conv_transpose2d(x, weights, None, (2, 3), (1, 2))
    torch.testing.assert_close(
        made(x, weights, (2, 3), [1, 2, 1, 2], [0, 0], 1), wanted, rtol=1e-4, atol=1e-4
    )
    cut = made(x, weights, (2, 3), [1, 2, 0, 0], [0, 0], 1)[:, :, :-1, :-2]
    torch.testing.assert_close(cut, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "cut", "more", "taps"),
    [(2, 2, 0, 0, 1), (4, 2, 1, 0, 2), (3, 2, 1, 1, 2), (16, 8, 4, 0, 2), (3, 1, 1, 0, 3)],
)
def test_no_zero_between_pixels_is_multiplied(
    kernel: int, stride: int, cut: int, more: int, taps: int
) -> None:
    """Work of a pixel: taps squared times stride squared; TVM's would be kernel squared for each of those."""
    plan = sub_pixel((HEIGHT, WIDTH), (kernel, kernel), (stride, stride), [cut] * 4, (more, more))
    assert plan is not None
    assert plan.taps == (taps, taps)
    assert plan.phases == stride**2
    assert plan.size == (HEIGHT * stride, WIDTH * stride)
    assert np.subtract(plan.conv_size, (HEIGHT, WIDTH)).max() <= 1


def test_a_plain_one_is_a_convolution() -> None:
    plan = sub_pixel((HEIGHT, WIDTH), (3, 3), (1, 1), [1] * 4, (0, 0))
    assert plan is not None
    assert plan.is_plain
    assert (plan.before, plan.after) == ((1, 1), (1, 1))
