"""Depthwise convolutions with dilation in bfloat16 on a CPU."""

import pytest
import torch
from torch import Tensor, nn

from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Conv2d
from search.networks.dilated_conv import DilatedDepthwise
from search.networks.graph_module import GraphModule


def _gradients(module: nn.Module, x: Tensor, *, narrow: bool) -> list[Tensor]:
    """Output, and gradients of x and of the weight."""
    x = x.clone(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        out = module(x)
    assert out.dtype == (torch.bfloat16 if narrow else torch.float32)
    towards = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out.float() * towards).sum().backward()
    (parameter,) = module.parameters()
    assert x.grad is not None
    assert parameter.grad is not None
    found = [out.detach().float(), x.grad, parameter.grad.clone()]
    module.zero_grad()
    return found


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 2), (5, 2), (3, 6)])
def test_gradients_are_those_of_float32_within_rounding(kernel: int, dilation: int) -> None:
    torch.manual_seed(0)
    net = GraphBuilder(("x",))
    padding = kernel // 2 * dilation
    net.add("conv", Conv2d(64, 64, kernel=kernel, padding=padding, dilation=dilation, groups=64), "x")
    module = GraphModule(net.build("conv"))
    assert isinstance(module.conv, DilatedDepthwise)
    x = torch.randn(2, 64, 48, 48)
    exact = _gradients(module, x, narrow=False)
    for found, wanted in zip(_gradients(module, x, narrow=True), exact, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 0.005


def test_without_autocast_it_is_the_usual_convolution() -> None:
    module = DilatedDepthwise(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
    usual = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
    usual.load_state_dict(module.state_dict())
    x = torch.randn(1, 8, 12, 12)
    assert torch.equal(module(x), usual(x))
    assert module.double()(x.double()).dtype == torch.float64
