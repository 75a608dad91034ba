"""Decoders of blocks: what can be chosen, what really runs, how often."""

import pytest

from search.spaces.encoders import get_encoder
from search.spaces.fastdense.space import FastdenseSpace, Form

from ..contract import SearchSpaceContract

SMALL = get_encoder("mobilenetv2").first(3)
TINY = FastdenseSpace(
    name="tiny",
    summary="two blocks, two layers, few channels",
    encoder=SMALL,
    form=Form(8, 1),
    blocks=2,
    layers=2,
)


class TestTiny(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> FastdenseSpace:
        return TINY


class TestFull(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> FastdenseSpace:
        return FastdenseSpace(
            name="full", summary="as published, few channels", encoder=SMALL, form=Form(8, 1)
        )
