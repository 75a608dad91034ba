"""A recipe of two epochs of three steps."""

from typing import Any

import pytest
import yaml

from .helpers import RECIPE


@pytest.fixture
def description() -> dict[str, Any]:
    """A recipe as its YAML file says it, to be changed."""
    loaded: dict[str, Any] = yaml.safe_load(RECIPE)
    return loaded
