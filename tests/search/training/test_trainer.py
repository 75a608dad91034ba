"""Single updates: what they change, and how they refuse to go on."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from search.errors import FailedTraining, InvalidRecipe
from search.networks.network import build_network
from search.parallel.ranks import Ranks
from search.tasks.segmentation_losses import segmentation_loss
from search.training.trainer import Trainer

from .helpers import ARCHITECTURE, stage

ALONE = Ranks(0, 1, torch.device("cpu"))


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network(ARCHITECTURE)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    return images, torch.randint(0, 19, (2, 64, 64), generator=generator)


def trainer(module: nn.Module | None = None, **changes: object) -> Trainer:
    loss = segmentation_loss(ranks=ALONE)
    return Trainer(module or network(), stage(**changes), loss, ALONE, steps_per_epoch=3)


def test_updates_lower_the_loss() -> None:
    training = trainer(optimizer={"learning_rate": 0.05}, epochs=10)
    images, labels = batch()
    losses = [training.step(images, labels, step).total for step in range(8)]
    assert losses[-1] < losses[0]
    assert training.ema is not None
    assert training.evaluated is training.ema.module


def test_update_is_that_of_sgd() -> None:
    module, plain = network(), network()
    images, labels = batch()
    training = trainer(module, optimizer={"learning_rate": 0.1, "weight_decay": 0.01}, ema_decay=None)
    loss = training.step(images, labels, 3).total
    rate = 0.1 * 0.5**0.9
    optimizer = torch.optim.SGD(plain.parameters(), lr=rate, momentum=0.9, weight_decay=0.01)
    expected = nn.functional.cross_entropy(plain.train()(images), labels)
    expected.backward()
    optimizer.step()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for (name, one), other in zip(module.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5), name


def test_parameters_by_rate_and_decay() -> None:
    module = network()
    training = trainer(
        module,
        optimizer={"learning_rate": 0.1, "weight_decay": 0.01, "decay_norms": False, "head_factor": 10.0},
    )
    training.step(*batch(), 0)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = {
        (group["lr"], group["weight_decay"]): {names[id(p)] for p in group["params"]}
        for group in training.optimizer.param_groups
    }
    assert set(groups) == {(0.1, 0.01), (0.1, 0.0), (1.0, 0.01), (1.0, 0.0)}
    assert {"stem.conv.weight", "head.conv.weight"} <= groups[0.1, 0.01]
    assert "stem.bn.weight" in groups[0.1, 0.0]
    assert "decoder.classify_low.weight" in groups[1.0, 0.01]
    assert "decoder.classify_low.bias" in groups[1.0, 0.0]
    assert sum(map(len, groups.values())) == len(names)


def test_frozen_norms_stay_as_they_are() -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trainer(module, freeze_norms=True).step(*batch(), 0)
    changed = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(".bn." in name for name in changed)
    trainer(module).step(*batch(), 0)
    assert not torch.equal(module.state_dict()["stem.bn.running_mean"], before["stem.bn.running_mean"])


def test_bfloat16_keeps_weights_in_single_precision() -> None:
    module = network()
    loss = trainer(module, precision="bfloat16").step(*batch(), 0).total
    assert math.isfinite(loss)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(InvalidRecipe, match="precision float16 trains on GPUs only; allowed here: float32"):
        trainer(precision="float16")


def test_state_goes_on_where_it_was() -> None:
    one, other = trainer(), trainer()
    images, labels = batch()
    one.step(images, labels, 0)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for training in (one, other):
        training.step(images, labels, 1)
    for mine, theirs in zip(one.evaluated.parameters(), other.evaluated.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_loss_that_is_no_number_stops_before_the_update() -> None:
    module = network()
    training = trainer(module)
    images, labels = batch()
    images[1, 0, 0, 0] = math.nan
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(FailedTraining) as caught:
        training.step(images, labels, 4)
    said = str(caught.value)
    assert said.startswith(
        "stage only: the loss is nan in epoch 2, step 2 of 3, at a learning rate of 0.00372: "
        "lower optimizer.learning_rate"
    )
    assert all(map(torch.equal, before, module.parameters()))


def test_a_gradient_that_is_no_number_stops_before_the_update() -> None:
    module = network()
    training = trainer(module)
    before = [parameter.clone() for parameter in module.parameters()]
    module.get_parameter("stem.conv.weight").register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FailedTraining, match=r"the gradient's norm is (nan|inf) in epoch 1, step 1 of 3"):
        training.step(*batch(), 0)
    assert all(map(torch.equal, before, module.parameters()))


def test_other_failures_pass_through() -> None:
    images, labels = batch()
    with pytest.raises(RuntimeError, match="channels"):
        trainer().step(images[:, :2], labels, 0)
