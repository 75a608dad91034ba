"""The spaces after GAS (arXiv:1909.06793) that ship: as narrow as the paper's search, and twice as wide."""

from search.spaces.gas.chain import CellChain
from search.spaces.gas.space import GasSpace

GAS = (
    GasSpace(
        name="gas",
        summary="after GAS: 14 independent cells of 5 edges, 8 operations, 8 first channels",
        chain=CellChain(channels=8),
    ),
    GasSpace(
        name="gas-wide",
        summary="after GAS: 14 independent cells of 5 edges, 8 operations, 16 first channels",
        chain=CellChain(channels=16),
    ),
)
