"""The spaces by name."""

from search.errors import SearchError, UnknownSpace
from search.spaces.chain import ChainSpace
from search.spaces.encoders import USUAL, written_out
from search.spaces.fastdense.spaces import OVER_ENCODERS
from search.spaces.fasterseg.spaces import FASTERSEG
from search.spaces.gas.spaces import GAS
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

    ``fastdense@ENCODER`` is FastDenseNAS's space over another encoder, see ``search.spaces.encoders``.

    Raises:
        UnknownSpace: neither a space nor an encoder of that name.
        InvalidArchitecture, UnknownCandidate: the encoder is a network that is none.
    """
    key = _SHORT.get(name, name)
    if key in SPACES:
        return SPACES[key]
    base, at, encoder = key.partition("@")
    if at and base in OVER_ENCODERS:
        return OVER_ENCODERS[base](written_out(encoder))
    over = ", ".join(f"{base}@NAME" for base in OVER_ENCODERS)
    raise UnknownSpace(
        f"unknown space {name!r}{near_miss(name, [*SPACES, *_SHORT])}; "
        f"allowed: {', '.join(sorted(SPACES))}; over another encoder {over}"
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
