"""The spaces after GAS."""

import pytest

from search.spaces.gas.chain import CellChain, Pyramid
from search.spaces.gas.space import GasSpace
from search.spaces.gas.spaces import GAS
from search.spaces.space import SearchSpace

from ..contract import SearchSpaceContract

OTHER = GasSpace(
    name="other",
    summary="other numbers",
    chain=CellChain(
        channels=4,
        cells=4,
        reductions=(0, 1),
        stem_strides=(2, 2),
        decoder=Pyramid(rates=(3,), channels=8),
        operations=("max_pool_3x3", "skip", "zero", "conv_3x3"),
        empty="refused",
    ),
)


class TestOther(SearchSpaceContract):
    @pytest.fixture(params=[OTHER, GAS[0], GAS[1]], ids=lambda s: s.name)
    def space(self, request) -> SearchSpace:
        return request.param
