"""``dataset.yaml``: what a folder of the user's own holds, read strictly. No PyTorch."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from search.data.class_entry import MOST_CHARS, ClassEntry, Value
from search.data.classes import CLASSES, IGNORE, MOST_CLASSES, Colour, LabelClass
from search.data.files import LABEL_ENDINGS
from search.data.label_code import LabelCode
from search.errors import InvalidData
from targets.support.reading import TEXT_BYTES, read_text
from targets.support.strict_yaml import Section, Text, parse_yaml, spelled_short
from targets.support.text import near_miss

NAME = "dataset.yaml"
PLACE = "{name}"  # in a rule for labels: the image's name without its ending
_ELSE = "; or list it under ignore in dataset.yaml"


def below(path: str) -> str:
    """A path that stays in the folder it is looked for in. Raises ValueError for others."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not path.isprintable():
        raise ValueError(f"found {path!r}; allowed: a path below the data set's folder, without ..")
    return path


Below = Annotated[Text, AfterValidator(below)]


class Split(Section):
    """Frames, by folders or by a list.

    Attributes:
        images: folder of the images, or that in which a list's images are looked for.
        labels: folder of the labels, which are called as their images are; or a rule such as
            ``labels/{name}_mask.png``, where ``{name}`` is the image's name without its ending.
        list: a text file. With ``labels``, it names an image a line, with or without its ending; alone, an
            image and its labels.
    """

    images: Below | None = None
    labels: Below | None = None
    list: Below | None = None

    @model_validator(mode="after")
    def _says_which(self) -> "Split":
        if self.images is None and self.list is None:
            raise ValueError("allowed: images and labels, or a list")
        if self.images is not None and self.labels is None:
            raise ValueError("labels: missing; where the images are named, so are the labels")
        labels = self.labels or ""
        if PLACE in labels and not labels.lower().endswith(LABEL_ENDINGS):
            allowed = ", ".join(LABEL_ENDINGS)
            raise ValueError(f"labels: found {labels!r}; allowed: a rule that ends in {allowed}")
        return self


class Splits(Section):
    """The splits that there are, one at least."""

    train: Split | None = None
    val: Split | None = None
    test: Split | None = None

    @model_validator(mode="after")
    def _any(self) -> "Splits":
        if not self.named():
            raise ValueError("none is there; allowed: train, val, test, one of them at least")
        return self

    def named(self) -> dict[str, Split]:
        """By name, those that there are."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}


class DatasetFile(Section):
    """The whole file.

    Attributes:
        labels: ``index``: the value of a pixel, gray or of a palette, tells its class; ``color``: its colour.
        values: with ``index``, class of each value; the value is the class index where this is left out.
        ignore: values, or colours, of pixels that do not count.
    """

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MOST_CHARS)]
    classes: Annotated[tuple[ClassEntry, ...], Field(strict=False)]
    labels: Literal["index", "color"]
    values: dict[Value, Text] | None = None
    ignore: Annotated[tuple[Any, ...], Field(strict=False)] = ()
    splits: Splits

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in (*CLASSES, "synthetic"):
            raise ValueError(f"found {name!r}, which another data set is called; allowed: a name of its own")
        return name

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


def load_dataset_file(folder: Path) -> DatasetFile:
    """The ``dataset.yaml`` of a folder. Raises InvalidData: none there, or all its faults at once."""
    path = folder / NAME
    if not path.is_file():
        raise InvalidData(
            f"{folder}: no {NAME} in it, which says what the classes, images and labels are; write one "
            "(docs/data.md has an example), or name the folder that has it"
        )
    text = read_text(path, InvalidData, most_bytes=TEXT_BYTES)
    return parse_yaml(text, str(path), DatasetFile, InvalidData)


def _repeated(things: Iterable[str | Colour]) -> list[str | Colour]:
    return [thing for thing, count in Counter(things).items() if count > 1]


def _raise(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


def _is_value(thing: object) -> bool:
    return type(thing) is int and 0 <= thing <= 255


def _is_colour(thing: object) -> bool:
    return isinstance(thing, list) and len(thing) == 3 and all(map(_is_value, thing))
