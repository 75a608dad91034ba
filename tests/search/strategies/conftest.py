"""The space of five positions is one of the project's while these tests run."""

import pytest

from search.spaces.registry import SPACES

from .helpers import FIVE


@pytest.fixture(autouse=True)
def _five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, FIVE.name, FIVE)
