"""Evolution that begins near the network whose weights it is given."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cost_models.ir.weights import random_weights
from search.architecture import load_architecture
from search.errors import InvalidSearch
from search.networks.weights import save_weights
from search.spaces.space import SearchSpace
from search.strategies.making import make_strategy
from search.strategies.sampling.recipe import load_recipe
from search.strategies.sampling.sampled import SampledSearch

from ..helpers import ALONE, FIVE, SMALL, TRAINING, problem


def search_of(space: SearchSpace, init: Path | None) -> SampledSearch:
    given: dict[str, Any] = {"scoring": TRAINING | ({"init": str(init)} if init else {}), "begin": "donor"}
    found = make_strategy(problem(strategy="evolution", space=space, **given), ALONE, None)
    assert isinstance(found, SampledSearch)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mac.safetensors"
    save_weights(path, random_weights(load_architecture("squeezenas-mac-small").network()))
    return path


def test_the_first_network_is_the_one_that_the_weights_are_of(weights: Path) -> None:
    first = search_of(SMALL, weights)._choose([], np.random.default_rng(0))
    assert first == load_architecture("squeezenas-mac-small").genotype


def test_near_a_network_of_another_space_there_is_none(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first = search_of(FIVE, weights)._choose([], np.random.default_rng(0))
    assert first == FIVE.check(first)
    assert "is of squeezenas-mac-small, no network of space " in caplog.text


def test_without_weights_there_is_no_donor() -> None:
    with pytest.raises(InvalidSearch, match=r"name them, --init WEIGHTS, or let it begin at random"):
        search_of(SMALL, None)


def test_a_day_on_camvid_begins_with_the_donor() -> None:
    assert load_recipe("evolution", "camvid-day").model_dump()["begin"] == "donor"
