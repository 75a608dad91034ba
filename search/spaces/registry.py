"""The spaces by name."""

from search.errors import UnknownSpace
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.fasterseg.spaces import FASTERSEG, sized
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
    """A space by name; ``small``, ``large`` and ``xlarge`` are SqueezeNAS's. Raises UnknownSpace.

    A grid may be of another size: ``fasterseg-student:layers=8,base=3``.
    """
    given, colon, sizes = name.partition(":")
    key = _SHORT.get(given, given)
    if key not in SPACES:
        raise UnknownSpace(
            f"unknown space {name!r}{near_miss(given, [*SPACES, *_SHORT])}; "
            f"allowed: {', '.join(sorted(SPACES))}"
        )
    space = SPACES[key]
    if not colon:
        return space
    if not isinstance(space, FastersegSpace):
        grids = ", ".join(own.name for own in SPACES.values() if isinstance(own, FastersegSpace))
        raise UnknownSpace(
            f"space {name}: {key} has one size alone; leave {colon}{sizes} out. Grids have sizes: {grids}"
        )
    return sized(space, sizes)


def spaces_of(name: str | None) -> list[SearchSpace]:
    """The space that a file names; all where it names none, nothing where there is no such space."""
    if name is None:
        return list(SPACES.values())
    try:
        return [get_space(name)]
    except UnknownSpace:
        return []
