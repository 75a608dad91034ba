"""Depthwise convolutions of maps taken apart are those with dilation."""

import pytest
import torch
from torch.nn import functional

from search.supernet.gas.dilated import dilated


@pytest.mark.parametrize("size", [(16, 16), (9, 34), (33, 35)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rate", [1, 2, 4, 8])
def test_it_is_the_convolution_with_dilation(size: tuple[int, int], stride: int, rate: int) -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 1, 3, 3, generator=random, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 6, *size, generator=random, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    found = dilated(x, weight, stride, rate)
    wanted = functional.conv2d(x, weight, None, stride, rate, rate, groups=6)
    torch.testing.assert_close(found, wanted)
    assert found.is_contiguous(memory_format=torch.channels_last)
    to_made = torch.randn(wanted.shape, generator=random, dtype=torch.float64)
    gradients = (torch.autograd.grad(made, (x, weight), to_made) for made in (found, wanted))
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other)
