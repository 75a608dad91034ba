"""``dataset.yaml``: what a folder of the user's own holds, read strictly. No PyTorch."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from search.data.class_entry import ClassEntry, Value
from search.data.classes import IGNORE, MOST_CLASSES, Colour, LabelClass
from search.data.depth_file import DepthFile
from search.data.label_code import LabelCode
from search.data.people_file import PeopleFile
from search.data.split_entry import SetName, Splits
from search.data.truth import CLASS_INDICES, Truth
from search.errors import InvalidData
from targets.support.reading import TEXT_BYTES, read_text
from targets.support.strict_yaml import Section, Text, parse_document, read_mapping, spelled_short
from targets.support.text import near_miss

NAME = "dataset.yaml"
_ELSE = "; or list it under ignore in dataset.yaml"


class DatasetFile(Section):
    """The whole file, of frames whose pixels are labelled by class.

    Attributes:
        labels: ``index``: the value of a pixel, gray or of a palette, tells its class; ``color``: its colour.
        values: with ``index``, class of each value; the value is the class index where this is left out.
        ignore: values, or colours, of pixels that do not count.
    """

    truth: ClassVar[Truth] = CLASS_INDICES

    schema_version: Literal[1]
    name: SetName
    task: Literal["segmentation"] = "segmentation"
    classes: Annotated[tuple[ClassEntry, ...], Field(strict=False)]
    labels: Literal["index", "color"]
    values: dict[Value, Text] | None = None
    ignore: Annotated[tuple[Any, ...], Field(strict=False)] = ()
    splits: Splits

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: tuple[ClassEntry, ...]) -> tuple[ClassEntry, ...]:
        faults = [
            *(f"the name {name!r} is given twice" for name in _repeated(entry.name for entry in classes)),
            *(f"the color {list(c)} is given twice" for c in _repeated(entry.color for entry in classes)),
        ]
        if not 2 <= len(classes) <= MOST_CLASSES:
            faults.append(f"found {len(classes)}; allowed: 2 to {MOST_CLASSES} classes")
        without = [entry.name for entry in classes if entry.category is None]
        if without and len(without) < len(classes):
            faults.append(f"{without[0]!r} has no category; allowed: all classes have one, or none has")
        _raise(faults)
        return classes

    @model_validator(mode="after")
    def _fits_together(self) -> "DatasetFile":
        _raise([*self._value_faults(), *self._ignore_faults()])
        return self

    def label_classes(self) -> tuple[LabelClass, ...]:
        """In the order of the class indices. Ids are values of label files, the smallest of each class."""
        ids = list(range(len(self.classes)))
        for value, index in sorted(self._indices().items(), reverse=True):
            ids[index] = value
        return tuple(
            LabelClass(own, entry.name, entry.color, entry.category or "")
            for own, entry in zip(ids, self.classes, strict=True)
        )

    def code(self) -> LabelCode:
        """What the pixels of label files mean."""
        ignored = dict.fromkeys(self._ignored(), IGNORE)
        colours = {entry.color: index for index, entry in enumerate(self.classes)}
        if self.labels == "index":
            return LabelCode({**self._indices(), **ignored}, colours, _ELSE, values_alone=True)
        return LabelCode({}, {**colours, **ignored}, _ELSE)

    def _indices(self) -> dict[int, int]:
        """Class index of each value."""
        if self.values is None:
            return {index: index for index in range(len(self.classes))}
        places = {entry.name: index for index, entry in enumerate(self.classes)}
        return {value: places[name] for value, name in self.values.items()}

    def _ignored(self) -> list[Any]:
        return [tuple(entry) if self.labels == "color" else entry for entry in self.ignore]

    def _value_faults(self) -> Iterator[str]:
        if self.values is None:
            return
        if self.labels == "color":
            yield "values: only where labels are index; colours stand with the classes"
        names = [entry.name for entry in self.classes]
        for value, name in self.values.items():
            if name not in names:
                yield f"values.{value}: found {name!r}{near_miss(name, names)}; allowed: the name of a class"
        absent = set(names) - set(self.values.values())
        if absent:
            yield f"values: no value is the class {next(name for name in names if name in absent)!r}"

    def _ignore_faults(self) -> Iterator[str]:
        in_colour = self.labels == "color"
        allowed = "a colour [red, green, blue], each 0 to 255" if in_colour else "a value, 0 to 255"
        taken: dict[Any, str] = {entry.color: entry.name for entry in self.classes}
        if not in_colour:
            taken = self.values or {index: entry.name for index, entry in enumerate(self.classes)}
        for place, entry in enumerate(self.ignore):
            if not (_is_colour(entry) if in_colour else _is_value(entry)):
                yield f"ignore[{place}]: found {spelled_short(entry)}; allowed: {allowed}"
            elif (key := tuple(entry) if in_colour else entry) in taken:
                yield f"ignore[{place}]: {entry} is the class {taken[key]!r}"


AnyFile = DatasetFile | DepthFile | PeopleFile
FILES: dict[str, type[DatasetFile] | type[DepthFile] | type[PeopleFile]] = {
    "segmentation": DatasetFile,
    "depth": DepthFile,
    "pose": PeopleFile,
}
"""What a file holds, by the task that it says; that of segmentation where it says none."""


def load_dataset_file(folder: Path) -> AnyFile:
    """The ``dataset.yaml`` of a folder. Raises InvalidData: none there, or all its faults at once."""
    path = folder / NAME
    if not path.is_file():
        raise InvalidData(
            f"{folder}: no {NAME} in it, which says what the classes, images and labels are; write one "
            "(docs/data.md has an example), or name the folder that has it"
        )
    text = read_text(path, InvalidData, most_bytes=TEXT_BYTES)
    raw = read_mapping(text, str(path), DatasetFile, InvalidData)
    task = raw.get("task", "segmentation")
    if not isinstance(task, str) or task not in FILES:
        found = f"found {spelled_short(task)}{near_miss(task, FILES)}"
        raise InvalidData(f"{path}: task: {found}; allowed: {', '.join(FILES)}")
    return parse_document(raw, str(path), FILES[task], InvalidData)


def _repeated(things: Iterable[str | Colour]) -> list[str | Colour]:
    return [thing for thing, count in Counter(things).items() if count > 1]


def _raise(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


def _is_value(thing: object) -> bool:
    return type(thing) is int and 0 <= thing <= 255


def _is_colour(thing: object) -> bool:
    return isinstance(thing, list) and len(thing) == 3 and all(map(_is_value, thing))
