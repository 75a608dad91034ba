"""Heads for training alone: their loss counts, checkpoints have them, the best weights do not."""

from pathlib import Path

import pytest
import torch

from search.architecture import Architecture
from search.data import Data
from search.errors import InvalidArchitecture
from search.networks.weights import load_weights
from search.spaces.registry import SPACES
from search.training.recipe import Recipe
from search.training.run import TrainingRun

from ..spaces.fasterseg.test_space import SCALED_DOWN
from .helpers import ALONE, recipe, state_of, stop_after, training


@pytest.fixture
def architecture(monkeypatch: pytest.MonkeyPatch) -> Architecture:
    monkeypatch.setitem(SPACES, SCALED_DOWN.name, SCALED_DOWN)
    choices = {decision.name: decision.options[-1] for decision in SCALED_DOWN.decisions}
    return Architecture(space=SCALED_DOWN.name, choices=choices, name="small grid")


def begun(architecture: Architecture, scenes: Data, out: Path, how: Recipe) -> TrainingRun:
    out.mkdir(exist_ok=True)
    return TrainingRun(architecture, how, [scenes], out, ALONE)


def test_their_loss_counts_and_they_are_not_kept(
    architecture: Architecture, scenes: Data, tmp_path: Path
) -> None:
    how = recipe(epochs=1, auxiliary=0.2)
    run = begun(architecture, scenes, tmp_path, how)
    run.run()
    plain = begun(architecture, scenes, tmp_path / "plain", recipe(epochs=1))
    plain.run()
    tensors = state_of(run, tmp_path)["trainer"]["network"]
    without = state_of(plain, tmp_path / "plain")["trainer"]["network"]
    assert any(name.startswith("auxiliary.third.") for name in tensors)
    assert not any(name.startswith("auxiliary.") for name in without)
    weights = load_weights(architecture, tmp_path / "best.safetensors")
    assert not any(name.startswith("auxiliary.") for name in weights)
    name = "deep.8.first.conv.weight"
    assert not torch.equal(tensors[name], without[name])


def test_a_training_with_them_goes_on_as_it_was(
    architecture: Architecture, scenes: Data, tmp_path: Path
) -> None:
    how = recipe(epochs=2, auxiliary=0.2)
    whole = begun(architecture, scenes, tmp_path / "whole", how)
    whole.run()
    stopped = begun(architecture, scenes, tmp_path / "stopped", how)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop_after(2))
    resumed = begun(architecture, scenes, tmp_path / "stopped", how)
    resumed.resume()
    resumed.run()
    one, other = ((tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert one == other


def test_other_spaces_have_no_such_heads(scenes: Data, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidArchitecture, match=r"^smallest: networks of squeezenas-small have no heads for"
    ):
        training(tmp_path, scenes, recipe(auxiliary=0.2))
