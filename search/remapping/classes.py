"""Which of a donor's classes become which of a network's, by their names. No PyTorch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Of two data sets the same things, or what is mostly the same. Spellings in which only signs differ need no
# line. Cityscapes' vegetation is trees and hedges, CamVid's tree mostly that; a bicyclist is the rider with
# his bicycle, and the rider is what moves as he does.
_ALIKE = (
    ("sidewalk", "pavement", "footpath"),
    ("person", "pedestrian", "people"),
    ("rider", "bicyclist", "cyclist"),
    ("vegetation", "tree", "trees"),
    ("traffic sign", "sign", "sign symbol"),
    ("traffic light", "signal"),
    ("pole", "column pole"),
    ("motorcycle", "motorbike"),
    ("bicycle", "bike"),
    ("car", "cars"),
)


@dataclass(frozen=True)
class ClassMatch:
    """Between the outputs of a donor and those of a network.

    Attributes:
        names, donor: of the network's, and of the donor's.
        sources: of each of the network's the donor's by its place; None for what the donor has not.
        by_order: whether nobody named them, so that they were taken as they stand.
    """

    names: tuple[str, ...]
    donor: tuple[str, ...]
    sources: tuple[int | None, ...]
    by_order: bool = False

    @property
    def found(self) -> int:
        """How many of them the donor has."""
        return sum(source is not None for source in self.sources)


def match_classes(donor: Sequence[str], names: Sequence[str]) -> ClassMatch:
    """By equal names, else by names that mean the same."""
    exact = {_plain(name): place for place, name in enumerate(donor)}
    alike = {_meaning(name): place for place, name in reversed(list(enumerate(donor)))}
    sources = (exact.get(_plain(name), alike.get(_meaning(name))) for name in names)
    return ClassMatch(tuple(names), tuple(donor), tuple(sources))


def in_order(donor: Sequence[str], names: Sequence[str]) -> ClassMatch:
    """Of equally many, of which the one's or the other's have no names."""
    return ClassMatch(tuple(names), tuple(donor), tuple(range(len(names))), by_order=True)


def none_taken(donor: Sequence[str], names: Sequence[str]) -> ClassMatch:
    """The network's begin anew."""
    return ClassMatch(tuple(names), tuple(donor), (None,) * len(names))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _meaning(name: str) -> str:
    plain = _plain(name)
    for words in _ALIKE:
        if plain in map(_plain, words):
            return _plain(words[0])
    return plain
