"""The spaces by name."""

from search.errors import UnknownSpace
from search.spaces.fasterseg.spaces import FASTERSEG
from search.spaces.gas.spaces import GAS
from search.spaces.mobilenetv3 import MOBILENETV3
from search.spaces.space import SearchSpace
from search.spaces.squeezenas import SQUEEZENAS
from targets.support.text import near_miss

SPACES: dict[str, SearchSpace] = {
    space.name: space for space in (*SQUEEZENAS, *MOBILENETV3, *FASTERSEG, *GAS)
}
_SHORT = {"small": "squeezenas-small", "large": "squeezenas-large", "xlarge": "squeezenas-xlarge"}


def get_space(name: str) -> SearchSpace:
    """A space by name; ``small``, ``large`` and ``xlarge`` are SqueezeNAS's. Raises UnknownSpace."""
    key = _SHORT.get(name, name)
    if key not in SPACES:
        raise UnknownSpace(
            f"unknown space {name!r}{near_miss(name, [*SPACES, *_SHORT])}; "
            f"allowed: {', '.join(sorted(SPACES))}"
        )
    return SPACES[key]
