"""The shipped spaces that are chains, by name."""

from search.spaces.chain import ChainSpace
from search.spaces.registry import SPACES

CHAINS: dict[str, ChainSpace] = {n: space for n, space in SPACES.items() if isinstance(space, ChainSpace)}
