"""The spaces by name."""

from search.errors import SearchError, UnknownSpace
from search.spaces.chain import ChainSpace
from search.spaces.encoders import USUAL, written_out
from search.spaces.fastdense.spaces import OVER_ENCODERS
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.fasterseg.spaces import FASTERSEG, sized
from search.spaces.gas.space import GasSpace
from search.spaces.gas.spaces import GAS, resized
from search.spaces.mobilenetv3 import MOBILENETV3
from search.spaces.space import SearchSpace
from search.spaces.squeezenas import SQUEEZENAS
from targets.support.text import near_miss

FASTDENSE = tuple(space(USUAL) for space in OVER_ENCODERS.values())
SPACES: dict[str, SearchSpace] = {
    space.name: space for space in (*SQUEEZENAS, *MOBILENETV3, *FASTERSEG, *GAS, *FASTDENSE)
}
_SHORT = {"small": "squeezenas-small", "large": "squeezenas-large", "xlarge": "squeezenas-xlarge"}


def get_space(name: str) -> SearchSpace:
    """A space by name; ``small``, ``large`` and ``xlarge`` are SqueezeNAS's.

    A grid or a chain of cells may be of another size, ``fasterseg-student:layers=8,base=3`` or
    ``gas:cells=8``, and a decoder over another encoder, ``fastdense@ENCODER``: ``search.spaces.encoders``.

    Raises:
        UnknownSpace: neither a space nor an encoder of that name, or a size that is none.
        InvalidArchitecture, UnknownCandidate: the encoder is a network that is none.
    """
    key = _SHORT.get(name, name)
    if key in SPACES:
        return SPACES[key]
    base, at, encoder = name.partition("@")
    if at and base in OVER_ENCODERS:
        return OVER_ENCODERS[base](written_out(encoder))
    given, colon, sizes = name.partition(":")
    key = _SHORT.get(given, given)
    if key not in SPACES:
        over = ", ".join(f"{base}@NAME" for base in OVER_ENCODERS)
        raise UnknownSpace(
            f"unknown space {name!r}{near_miss(given, [*SPACES, *_SHORT])}; "
            f"allowed: {', '.join(sorted(SPACES))}; over another encoder {over}"
        )
    space = SPACES[key]
    if isinstance(space, FastersegSpace):
        return sized(space, sizes)
    if isinstance(space, GasSpace):
        return resized(space, sizes)
    with_sizes = (own.name for own in SPACES.values() if isinstance(own, FastersegSpace | GasSpace))
    raise UnknownSpace(
        f"space {name}: {key} has one size alone; leave {colon}{sizes} out. Of other sizes are: "
        f"{', '.join(with_sizes)}"
    )


def spaces_of_table(name: str | None) -> list[SearchSpace]:
    """Those that a table may be of: that which it names, if it is known here; all chains where it names none,
    as tables of 0.1 do."""
    if name is None:
        return [space for space in SPACES.values() if isinstance(space, ChainSpace)]
    try:
        return [get_space(name)]
    except SearchError:
        return []
