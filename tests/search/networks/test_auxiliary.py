"""Heads for training alone: there in training, gone in evaluation and in what is kept."""

import pytest
import torch
from torch import Tensor, nn

from search.architecture import load_architecture
from search.errors import InvalidArchitecture
from search.networks.auxiliary import PREFIX, TrainingNetwork
from search.networks.network import build_network

STUDENT = load_architecture("fasterseg-student")


def image() -> Tensor:
    return torch.randn(2, 3, 64, 97, generator=torch.Generator().manual_seed(0))


def test_training_sees_three_outputs_and_evaluation_one() -> None:
    torch.manual_seed(0)
    network = TrainingNetwork(STUDENT)
    outputs = network.train()(image())
    assert isinstance(outputs, tuple)
    assert [tuple(logits.shape) for logits in outputs] == [(2, 19, 64, 97)] * 3
    sum(logits.square().mean() for logits in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    ran: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    alone = network.eval()(image())
    assert isinstance(alone, Tensor)
    assert ran
    assert not [name for name in ran if name.startswith(PREFIX)]


def test_what_is_kept_is_the_deployed_network() -> None:
    torch.manual_seed(0)
    network = TrainingNetwork(STUDENT)
    network.train()(image())
    deployed = build_network(STUDENT)
    deployed.load_state_dict(network.deployed_state(), strict=True)
    with torch.inference_mode():
        torch.testing.assert_close(deployed.eval()(image()), network.eval()(image()), rtol=0, atol=0)


def test_other_spaces_have_none() -> None:
    with pytest.raises(
        InvalidArchitecture, match=r"^squeezenas-lat-small: networks of squeezenas-small have"
    ):
        TrainingNetwork(load_architecture("squeezenas-lat-small"))
