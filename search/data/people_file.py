"""``dataset.yaml`` of people with key points, and the JSON files that say where those are. No PyTorch."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from search.data.class_entry import Shown
from search.data.files import names_in
from search.data.frames import Data, first_faults
from search.data.image_files import ENDINGS
from search.data.key_points import KeyPoints
from search.data.key_points_entry import NamedKeyPoints
from search.data.people import PERSON_SIZE, PersonFrame, Point, people_data
from search.data.split_entry import PLACE, Below, SetName, below
from search.errors import InvalidData
from targets.support.reading import read_text
from targets.support.strict_json import parse_json
from targets.support.strict_yaml import Section, Side, spelled_short
from targets.support.text import near_miss

MOST_PEOPLE_BYTES = 1 << 28
_AROUND = 1.5  # the square that is cut out, of the larger side of the key points' box, where no box is told
_LARGEST = 1e6  # of a coordinate, pixels
_KEYS = ("image", "points", "head_size", "box")


class PeopleSplit(Section):
    """People in the images of a folder.

    Attributes:
        images: the folder.
        people: a JSON file that lists them, or a rule such as ``people/{name}.json``: a file an image, where
            ``{name}`` is the image's name without its ending.
    """

    images: Below
    people: Below

    @model_validator(mode="after")
    def _is_json(self) -> "PeopleSplit":
        if not self.people.lower().endswith(".json"):
            raise ValueError(f"people: found {self.people!r}; allowed: a .json file, or a rule that ends so")
        return self


class PeopleSplits(Section):
    """The splits that there are, one at least."""

    train: PeopleSplit | None = None
    val: PeopleSplit | None = None
    test: PeopleSplit | None = None

    @model_validator(mode="after")
    def _any(self) -> "PeopleSplits":
        if not self.named():
            raise ValueError("none is there; allowed: train, val, test, one of them at least")
        return self

    def named(self) -> dict[str, PeopleSplit]:
        """By name, those that there are."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}


class PeopleFile(Section):
    """The whole file.

    Attributes:
        key_points: names, skeleton, mirrored, unscored; or the name of a known list, such as ``mpii``.
        head: two key points whose distance is the head's size where a person says no ``head_size``.
        size: height and width of a frame, to which the part of the image around a person is resized.
    """

    schema_version: Literal[1]
    name: SetName
    task: Literal["pose"]
    key_points: NamedKeyPoints
    head: Annotated[tuple[Shown, Shown], Field(strict=False)] | None = None
    size: Annotated[tuple[Side, Side], Field(strict=False)] = PERSON_SIZE
    splits: PeopleSplits

    @model_validator(mode="after")
    def _head_is_known(self) -> "PeopleFile":
        names = self.key_points.names
        for name in self.head or ():
            if name not in names:
                raise ValueError(f"head: found {name!r}{near_miss(name, names)}; allowed: two key points")
        return self


def open_people(folder: Path, described: PeopleFile) -> Data:
    """The people that a ``dataset.yaml`` in a folder describes. Raises InvalidData: all that is wrong."""
    points, faults = described.key_points.key_points(), []
    reader = _Reader(folder, described, points)
    splits = {}
    for name, split in described.splits.named().items():
        splits[name] = list(reader.people(split))
        faults += [f"splits.{name}.{fault}" for fault in reader.faults]
        if not splits[name] and not reader.faults:
            faults.append(f"splits.{name}: nobody is in {split.people}")
    if faults:
        raise InvalidData(f"{folder / 'dataset.yaml'}: {first_faults(faults)}")
    return people_data(described.name, folder, splits, points, described.size)


class _Reader:
    """Reads the people of splits; ``faults`` are those of the last one."""

    def __init__(self, folder: Path, described: PeopleFile, points: KeyPoints) -> None:
        self._folder, self._described, self._points = folder, described, points
        self.faults: list[str] = []

    def people(self, split: PeopleSplit) -> Iterator[PersonFrame]:
        """In order of the file, or of the images. Adds to ``faults``."""
        self.faults = []
        if not (self._folder / split.images).is_dir():
            self.faults.append(f"images: no folder {split.images} in {self._folder}")
            return
        names: dict[str, int] = {}
        for file, image, entry in self._entries(split):
            where = f"people: {file}"
            try:
                frame = self._frame(split, image, entry, names)
            except ValueError as error:
                self.faults.append(f"{where}: {error}")
            else:
                yield frame

    def _entries(self, split: PeopleSplit) -> Iterator[tuple[str, str | None, Any]]:
        """The file, its image where it is of one, and what it says of a person."""
        if PLACE not in split.people:
            for number, entry in enumerate(self._list(split.people), 1):
                yield f"{split.people}, person {number}", None, entry
            return
        for image in names_in(self._folder / split.images, ENDINGS):
            file = split.people.replace(PLACE, image.rpartition(".")[0])
            found = self._list(file)
            for number, entry in enumerate(found, 1):
                yield file + f", person {number}" * (len(found) > 1), image, entry

    def _list(self, file: str) -> list[Any]:
        path = self._folder / file
        try:
            found = parse_json(read_text(path, InvalidData, most_bytes=MOST_PEOPLE_BYTES))
        except ValueError as error:
            self.faults.append(f"people: {file}: no JSON: {error}")
            return []
        except InvalidData as error:
            self.faults.append(f"people: {error}")
            return []
        return found if isinstance(found, list) else [found]

    def _frame(self, split: PeopleSplit, image: str | None, entry: Any, names: dict[str, int]) -> PersonFrame:
        """Raises ValueError."""
        if not isinstance(entry, dict):
            raise ValueError("no JSON object")
        if strangers := [key for key in entry if key not in _KEYS]:
            hint = near_miss(strangers[0], _KEYS)
            raise ValueError(f"unknown key {strangers[0]!r}{hint}; allowed: {', '.join(_KEYS)}")
        given = entry.get("image", image)
        if not isinstance(given, str) or (image is not None and given != image):
            raise ValueError(f"image: found {spelled_short(given)}; allowed: the name of an image")
        if not given.lower().endswith(ENDINGS):
            raise ValueError(f"image: found {given!r}; allowed: {', '.join(ENDINGS)}")
        points = self._read_points(entry.get("points"))
        known = [(x, y) for x, y, sure in points if sure]
        if not known:
            raise ValueError("points: none is known; leave the person out")
        stem = given.rpartition(".")[0]
        names[stem] = names.get(stem, 0) + 1
        centre, side = _place(entry.get("box"), known)
        return PersonFrame(
            name=f"{stem}_{names[stem]}" if names[stem] > 1 else stem,
            set_name=self._described.name,
            image=self._folder / split.images / below(given),
            centre=centre,
            side_px=side,
            points=tuple(points),
            head_px=self._head(entry.get("head_size"), points),
            size=self._described.size,
        )

    def _read_points(self, found: Any) -> list[Point]:
        """Of a list in the order of the names, or by name. Raises ValueError."""
        names = self._points.names
        if isinstance(found, list):
            if len(found) != len(names):
                raise ValueError(
                    f"points: found {len(found)}; allowed: {len(names)}, as key_points lists them"
                )
            return [_point(name, value) for name, value in zip(names, found, strict=True)]
        if not isinstance(found, dict):
            raise ValueError("points: missing; allowed: [x, y] by name, or a list of them")
        if strangers := [name for name in found if name not in names]:
            hint = near_miss(strangers[0], names)
            raise ValueError(f"points: found {strangers[0]!r}{hint}; allowed: the name of a key point")
        return [_point(name, found.get(name)) for name in names]

    def _head(self, given: Any, points: Sequence[Point]) -> float:
        """Raises ValueError."""
        if given is not None:
            if type(given) not in (int, float) or not 0 < given < _LARGEST:
                raise ValueError(f"head_size: found {spelled_short(given)}; allowed: pixels, above 0")
            return float(given)
        if self._described.head is None:
            raise ValueError("head_size: missing, by which distances are told; or name two points as head")
        (ax, ay, a), (bx, by, b) = (points[self._points.names.index(name)] for name in self._described.head)
        if not (a and b):
            return 0.0
        if (ax, ay) == (bx, by):
            raise ValueError(f"head_size: 0, since {' and '.join(self._described.head)} are one point")
        return math.hypot(ax - bx, ay - by)


def _point(name: str, value: Any) -> Point:
    """Raises ValueError."""
    if value is None:
        return 0.0, 0.0, 0.0
    sound = isinstance(value, list) and len(value) in (2, 3)
    if not sound or not all(type(n) in (int, float) and abs(n) < _LARGEST for n in value[:2]):
        raise ValueError(
            f"points.{name}: found {spelled_short(value)}; allowed: [x, y] in pixels, [x, y, 0] where it is "
            "missing, or null"
        )
    if value[2:] not in ([], [0], [1]):
        raise ValueError(f"points.{name}: found visible {spelled_short(value[2])}; allowed: 0 or 1")
    return (float(value[0]), float(value[1]), 1.0) if value[2:] != [0] else (0.0, 0.0, 0.0)


def _place(box: Any, known: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], float]:
    """Centre and side of what is cut out. Raises ValueError."""
    if box is None:
        (left, right), (top, bottom) = ((min(line), max(line)) for line in zip(*known, strict=True))
        return ((left + right) / 2, (top + bottom) / 2), max(_AROUND * max(right - left, bottom - top), 8.0)
    sound = isinstance(box, list) and len(box) == 4
    if not sound or not all(type(n) in (int, float) and abs(n) < _LARGEST for n in box):
        raise ValueError(f"box: found {spelled_short(box)}; allowed: [left, top, right, bottom] in pixels")
    left, top, right, bottom = map(float, box)
    if right - left < 1 or bottom - top < 1:
        raise ValueError(f"box: found {box}; allowed: [left, top, right, bottom], a pixel large at least")
    return ((left + right) / 2, (top + bottom) / 2), max(right - left, bottom - top)
