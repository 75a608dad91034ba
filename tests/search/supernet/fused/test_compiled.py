"""The fused form with passes made by PyTorch's compiler, against the one without."""

import shutil

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from search.supernet import Supernet

from ...strategies.helpers import FIVE

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch's compiler needs g++")


def _pair(**options: bool) -> tuple[Supernet, Supernet]:
    pair = []
    for compiled in (False, True):
        torch.manual_seed(0)
        pair.append(Supernet(FIVE, 5, compiled=compiled, **options).double().train())
    return pair[0], pair[1]


def _check_step_is_equal(one: Supernet, other: Supernet, side: int) -> None:
    found = []
    for net in (one, other):
        net.zero_grad()
        random = torch.Generator().manual_seed(3)
        x = torch.randn(2, 3, side, side, generator=random, dtype=torch.float64)
        labels = torch.randint(5, (2, side, side), generator=random)
        weights = net.draw(2, 2.0, per_image=True, generator=random)
        loss = functional.cross_entropy(net(x, weights), labels)
        loss.backward()
        running = {name: b for name, b in net.named_buffers() if b.is_floating_point()}
        found.append({"loss": loss.detach()} | _gradients(net) | running)
    assert found[0].keys() == found[1].keys()
    for name, tensor in found[0].items():
        assert torch.allclose(found[1][name], tensor, rtol=1e-9, atol=1e-12), name


def _gradients(net: Supernet) -> dict[str, Tensor]:
    return {f"gradient of {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_numbers_and_nothing_is_compiled_again_after_pruning(checkpointing: bool) -> None:
    from torch._dynamo.utils import counters

    one, other = _pair(checkpointing=checkpointing)
    _check_step_is_equal(one, other, 64)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs >= 3  # it was compiled
    for net in (one, other):
        with torch.no_grad():
            net.logits[0][4:] = -9.0
            net.logits[1][:6] = -9.0
        assert len(net.prune()) == 15
    _check_step_is_equal(one, other, 96)
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]


def test_in_bfloat16_it_is_as_near() -> None:
    one, other = (net.float() for net in _pair())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    weights = one.draw(2, 2.0, per_image=False, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        exact = one(x, weights)
        with torch.autocast("cpu", torch.bfloat16):
            errors = [float((net(x, weights).float() - exact).norm()) for net in (one, other)]
    assert errors[1] < 1.1 * errors[0]
    assert errors[0] < 0.05 * float(exact.norm())
