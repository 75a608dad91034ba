"""Key points as files of the user's tell them: data sets and architectures. No PyTorch."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from search.data.class_entry import Shown
from search.data.key_points import KEY_POINTS, KeyPoints, key_points_list
from targets.support.strict_yaml import Section
from targets.support.text import near_miss

MOST_POINTS = 255
_PairOfNames = Annotated[tuple[Shown, Shown], Field(strict=False)]
_Pairs = Annotated[tuple[_PairOfNames, ...], Field(strict=False, max_length=1000)]


class KeyPointsEntry(Section):
    """Which key points there are, by name.

    Attributes:
        names: in the order of a network's outputs.
        skeleton: pairs that are drawn with a line between them.
        mirrored: pairs that change places in a mirror; without them pictures are not flipped rightly.
        unscored: points that the score of all leaves out.
    """

    names: Annotated[tuple[Shown, ...], Field(strict=False, min_length=1, max_length=MOST_POINTS)]
    skeleton: _Pairs = ()
    mirrored: _Pairs = ()
    unscored: Annotated[tuple[Shown, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> "KeyPointsEntry":
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        for name, count in Counter(self.names).items():
            if count > 1:
                yield f"names: found {name!r} twice; allowed: each name once"
        for key, named in (
            ("skeleton", [name for pair in self.skeleton for name in pair]),
            ("mirrored", [name for pair in self.mirrored for name in pair]),
            ("unscored", list(self.unscored)),
        ):
            for name in dict.fromkeys(named):
                if name not in self.names:
                    hint = near_miss(name, self.names)
                    yield f"{key}: found {name!r}{hint}; allowed: the name of a key point"
            if key != "skeleton" and (twice := [name for name, count in Counter(named).items() if count > 1]):
                yield f"{key}: found {twice[0]!r} twice; allowed: each name once"
        if self.unscored and set(self.unscored) >= set(self.names):
            yield "unscored: found all of them; allowed: some"

    def key_points(self) -> KeyPoints:
        """By places."""
        places = {name: place for place, name in enumerate(self.names)}
        skeleton, mirrored = (
            tuple((places[one], places[other]) for one, other in pairs)
            for pairs in (self.skeleton, self.mirrored)
        )
        return KeyPoints(self.names, skeleton, mirrored, tuple(places[name] for name in self.unscored))


def key_points_entry(points: KeyPoints) -> KeyPointsEntry:
    """Key points as a file lists them."""

    def pairs(found: tuple[tuple[int, int], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((points.names[one], points.names[other]) for one, other in found)

    return KeyPointsEntry(
        names=points.names,
        skeleton=pairs(points.skeleton),
        mirrored=pairs(points.mirrored),
        unscored=tuple(points.names[place] for place in points.unscored),
    )


def _by_name(found: Any) -> Any:
    """A known list in place of its name."""
    if not isinstance(found, str):
        return found
    if found not in KEY_POINTS:
        raise ValueError(
            f"unknown list of key points {found!r}{near_miss(found, KEY_POINTS)}; "
            f"allowed: {', '.join(KEY_POINTS)}, or names, skeleton, mirrored and unscored"
        )
    return key_points_entry(KEY_POINTS[found])


NamedKeyPoints = Annotated[KeyPointsEntry, BeforeValidator(_by_name)]
"""In files also the name of a known list (``mpii``)."""


def dumped_key_points(entry: KeyPointsEntry) -> Any:
    """As a file has it, short."""
    document = {name: value for name, value in entry.model_dump(mode="json").items() if value}
    return key_points_list(entry.key_points()) or document
