"""Networks in tests are tiny: threads would wait for each other longer than they work."""

from collections.abc import Iterator

import pytest
import torch

from search.data import Data, open_data
from search.spaces.registry import SPACES

from .spaces.toy_space import TOY
from .strategies.helpers import CELLS, FIVE
from .training.helpers import SCENES


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def scenes() -> Data:
    return open_data(SCENES)


@pytest.fixture(autouse=True)
def _own_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spaces of the tests are some of the project's while they run."""
    for space in (CELLS, FIVE, TOY):
        monkeypatch.setitem(SPACES, space.name, space)
