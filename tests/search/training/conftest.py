"""Drawn scenes of 64x64 and a recipe of two epochs of three steps."""

from typing import Any

import pytest
import yaml

from search.data import Data, open_data

from .helpers import RECIPE, SCENES


@pytest.fixture(scope="session")
def scenes() -> Data:
    return open_data(SCENES)


@pytest.fixture
def description() -> dict[str, Any]:
    """A recipe as its YAML file says it, to be changed."""
    loaded: dict[str, Any] = yaml.safe_load(RECIPE)
    return loaded
