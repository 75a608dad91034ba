"""Batches of one image: refused where a network averages a map to a pixel and normalises it."""

from pathlib import Path

import pytest

from search.architecture import Architecture
from search.data import Data
from search.errors import InvalidRecipe
from search.training.run import TrainingRun

from .helpers import ALONE, ARCHITECTURE, recipe

CELLS = Architecture(space="gas:cells=3", blocks=["conv_3x3 conv_3x3 skip skip skip"] * 3, name="pooled")


def begun(architecture: Architecture, scenes: Data, out: Path, **changes: object) -> TrainingRun:
    fitting = architecture.for_data(scenes)
    return TrainingRun(fitting, recipe(epochs=1, **changes), [scenes], out, ALONE)


def test_one_value_a_channel_is_refused_before_anything_is_trained(scenes: Data, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        begun(CELLS, scenes, tmp_path, batch_size=1)
    assert str(refused.value) == (
        "stage only: batch_size is 1, too few for this network: decoder.pooled.bn would normalise single "
        "values; allowed: 2 or more, over all processes, or freeze_norms: true"
    )
    assert not list(tmp_path.iterdir())


def test_what_the_refusal_allows_trains(scenes: Data, tmp_path: Path) -> None:
    for place, changes in enumerate(({"batch_size": 2}, {"batch_size": 1, "freeze_norms": True})):
        out = tmp_path / str(place)
        out.mkdir()
        assert begun(CELLS, scenes, out, **changes).run()["epoch"] == 1


def test_a_network_without_such_a_map_trains_on_single_images(scenes: Data, tmp_path: Path) -> None:
    assert begun(ARCHITECTURE, scenes, tmp_path, batch_size=1).run()["epoch"] == 1
