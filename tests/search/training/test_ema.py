"""The moving average of weights."""

import pytest
import torch
from torch import nn

from search.training.ema import Ema


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))


def test_average_of_all_floating_tensors() -> None:
    module = network()
    ema = Ema(module, decay=0.5)
    first = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.add_(1)
    ema.update(module)
    share = 1 - 2 / 11  # the decay after one update is (1 + 1) / (10 + 1)
    for name, average in ema.module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(average) == 1
        else:
            assert torch.allclose(average, first[name] + share)


def test_decay_grows_to_the_given_one() -> None:
    module = nn.Conv2d(1, 1, 1, bias=False)
    ema = Ema(module, decay=0.6)
    with torch.no_grad():
        module.weight.fill_(0)
    for _ in range(50):
        ema.update(module)
    assert float(ema.module.weight) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        module.weight.fill_(1)
    ema.update(module)
    assert float(ema.module.weight) == pytest.approx(0.4)


def test_state_goes_on_where_it_was() -> None:
    module = network()
    one, other = Ema(module, 0.9), Ema(network(), 0.9)
    one.update(module)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        module[0].weight.mul_(2)
    one.update(module)
    other.update(module)
    assert torch.equal(one.module[0].weight, other.module[0].weight)
    assert not one.module.training
    assert not any(parameter.requires_grad for parameter in one.module.parameters())
