"""Supernets that begin with a donor's weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cost_models.ir.weights import random_weights
from search.architecture import load_architecture
from search.data import Augmentation, open_data
from search.data.classes import IGNORE
from search.data.loaders import train_loader
from search.errors import InvalidWeights
from search.networks.weights import save_weights
from search.problem.problem import SearchProblem
from search.remapping.begin import begin_supernet
from search.run import run_search
from search.spaces.chain import ChainSpace
from search.spaces.registry import get_space
from search.strategies.gumbel.gumbel import GumbelSearch
from search.strategies.making import make_strategy
from search.strategies.sampling.sampled import SampledSearch
from search.supernet import Supernet

from .helpers import ALONE, FIVE, Log, problem

DONOR = load_architecture("squeezenas-mac-small")
PATHS = {"kind": "paths", "epochs": 1, "calibration_batches": 1}


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    path = tmp_path / "donor.safetensors"
    save_weights(path, random_weights(DONOR.network()))
    return path


def wanted(strategy: str, init: Path, **more: Any) -> SearchProblem:
    given = {"init": str(init), **more}
    if strategy == "gumbel":
        return problem(**given)
    return problem(strategy=strategy, scoring={**PATHS, **given})


@pytest.mark.parametrize("strategy", ["gumbel", "evolution"])
def test_a_search_begins_with_it_tells_so_and_goes_on_without_it(
    strategy: str, donor: Path, tmp_path: Path
) -> None:
    given = wanted(strategy, donor)
    expected = begin_supernet(FIVE, "segmentation", [c.name for c in given.data.classes], donor).tensors
    made = make_strategy(given, ALONE, None)
    assert isinstance(made, GumbelSearch | SampledSearch)
    begun = made.state()["supernet" if strategy == "gumbel" else "scorer"]
    found = begun if strategy == "gumbel" else begun["supernet"]
    assert {
        name for name in expected if not torch.equal(found[name], torch.from_numpy(expected[name]))
    } == set()
    assert any(name.startswith("blocks.2.k5e6.") for name in expected)
    whole = run_search(given, tmp_path / "whole", ALONE, resume=False, watch=Log())
    table = (tmp_path / "whole" / "remapped.csv").read_text()
    assert made.remapped == table
    assert "blocks.2.k5e6," in table
    with pytest.raises(KeyboardInterrupt):
        run_search(given, tmp_path / "parts", ALONE, resume=False, watch=Log(2))
    donor.unlink()
    assert run_search(given, tmp_path / "parts", ALONE, resume=True, watch=Log()) == whole
    assert (tmp_path / "parts" / "remapped.csv").read_text() == table


def test_without_it_nothing_is_said(tmp_path: Path) -> None:
    made = make_strategy(problem(), ALONE, None)
    assert isinstance(made, GumbelSearch)
    assert made.remapped is None


def test_a_new_head_leaves_classifiers_as_they_were_made(donor: Path) -> None:
    torch.manual_seed(0)
    made = make_strategy(wanted("gumbel", donor, new_head=True), ALONE, None)
    torch.manual_seed(0)
    plain = make_strategy(problem(), ALONE, None)
    assert isinstance(made, GumbelSearch)
    assert isinstance(plain, GumbelSearch)
    for name in ("classify_high", "classify_low"):
        name = f"decoder.{name}.weight"
        assert torch.equal(made.supernet.state_dict()[name], plain.supernet.state_dict()[name])
    high = "decoder.high.conv.weight"
    assert not torch.equal(made.supernet.state_dict()[high], plain.supernet.state_dict()[high])


def test_a_supernet_sees_before_it_has_learnt_anything(shared_data: Path) -> None:
    """Drawn paths of Small with LAT-Small's published weights of Cityscapes, on four frames of CamVid."""
    data = open_data(f"camvid:{shared_data / 'camvid'}")
    frames = data.frames("train").subset(range(0, 40, 10))
    how = Augmentation((192, 256), (0.5, 0.5))
    loader = train_loader(frames, how, batch_size=4, workers=0, seed=0)
    images, labels = next(iter(loader.epoch(0, 0)))
    space = get_space("small")
    assert isinstance(space, ChainSpace)
    begun = begin_supernet(space, "segmentation", data.tells, shared_data / "squeezenas" / "lat_small.pth")
    shares = []
    for tensors in ({}, begun.tensors):
        torch.manual_seed(0)
        supernet = Supernet(space, len(data.tells), form="plain")
        given = {name: torch.from_numpy(values) for name, values in tensors.items()}
        supernet.load_state_dict(given, strict=False)
        right = []
        for seed in range(4):
            path = supernet.draw(
                1, 1.0, per_image=False, generator=torch.Generator().manual_seed(seed), paths=1
            )
            with torch.no_grad():
                found = supernet.train()(images, path).argmax(1)
            right.append(float((found == labels)[labels != IGNORE].float().mean()))
        shares.append(sum(right) / len(right))
    assert shares[0] < 0.2
    assert shares[1] > 0.3


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(path, random_weights(load_architecture("mobilenetv3-small-seg").network()))
    for strategy in ("gumbel", "random"):
        with pytest.raises(InvalidWeights, match="another family than five"):
            make_strategy(wanted(strategy, path), ALONE, None)
