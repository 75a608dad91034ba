from collections.abc import Iterator

import pytest

from search.spaces.registry import SPACES

from .donors import WIDER, chain


@pytest.fixture(autouse=True)
def spaces() -> Iterator[None]:
    """Short chains that architectures can name."""
    own = {
        "short": chain(),
        "short-wide": chain("short-wide", WIDER, head=64, middle=24),
        "short-plain": chain("short-plain", head=None),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, space in own.items():
            patch.setitem(SPACES, name, space)
        yield
