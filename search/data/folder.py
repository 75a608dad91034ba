"""A data set of the user's own: a folder with a ``dataset.yaml`` that says what is in it. No PyTorch."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from search.data.dataset_file import NAME, load_dataset_file
from search.data.files import LABEL_ENDINGS, Code, StoredFrame, names_in, size_of
from search.data.frames import Data, Size, first_faults
from search.data.image_files import ENDINGS
from search.data.people_file import PeopleFile, open_people
from search.data.split_entry import PLACE, Split, below
from search.errors import InvalidData
from targets.support.reading import read_text

MOST_LIST_BYTES = 1 << 26

Pair = tuple[str, str]  # image and labels, paths in the data set's folder


def open_folder(folder: Path) -> Data:
    """The data set that ``dataset.yaml`` in a folder describes; frames may differ in size.

    Its files are listed, and of images the heads are read, which tell their sizes.

    Raises:
        InvalidData: no such file, all that is wrong with it, or with the splits that it names.
    """
    described = load_dataset_file(folder)
    if isinstance(described, PeopleFile):
        return open_people(folder, described)
    code = described.code()
    splits, faults = {}, []
    for name, split in described.splits.named().items():
        found = _Listing(folder, split)
        splits[name] = tuple(_frames(folder, found.pairs(), code))
        faults += [f"splits.{name}.{fault}" for fault in found.faults]
    if faults:
        raise InvalidData(f"{folder / NAME}: {first_faults(faults)}")
    size = _common_size(folder, described.name, splits)
    return Data(described.name, described.label_classes(), size, splits, described.truth)


class _Listing:
    """The frames of a split, and what is wrong with them by their names alone."""

    def __init__(self, folder: Path, split: Split) -> None:
        self._folder, self._split = folder, split
        self._stored: dict[str, dict[str, list[str]]] = {}  # names by stem, of folders that were looked into
        self._without: list[str] = []  # labels, images
        self.faults: list[str] = []

    def pairs(self) -> list[Pair]:
        """In order: of the list, or of the names in a folder. Adds to ``faults``."""
        split = self._split
        for key, path in (("images", split.images), ("labels", split.labels)):
            rule = key == "labels" and path is not None and PLACE in path
            if path is not None and not rule and not (self._folder / path).is_dir():
                self.faults.append(f"{key}: no folder {path} in {self._folder}")
        if self.faults:
            return []
        pairs = list(self._in_list(split.list) if split.list is not None else self._in_folder())
        if not pairs and not self.faults:
            empty = f"images: no {', '.join(ENDINGS)} files in {split.images}"
            self.faults.append(empty if split.list is None else f"list: {split.list} names no frame")
        self._refuse_repeated(pairs)
        if len(self._without) == len(pairs):
            self._suggest_suffix()
        return pairs

    def _in_folder(self) -> Iterator[Pair]:
        assert self._split.images is not None
        try:
            names = names_in(self._folder / self._split.images)
        except InvalidData as error:
            self.faults.append(f"images: {error}")
            return
        for name in names:
            yield _joined(self._split.images, name), self._labels_of(name)

    def _in_list(self, name: str) -> Iterator[Pair]:
        read = self._pair if self._split.labels is None else self._by_rule
        try:
            text = read_text(self._folder / name, InvalidData, most_bytes=MOST_LIST_BYTES)
        except InvalidData as error:
            self.faults.append(f"list: {error}")
            return
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                try:
                    yield read(line.strip())
                except ValueError as error:
                    self.faults.append(f"list: {name}, line {number}: {error}")

    def _pair(self, line: str) -> Pair:
        """Of a line that names image and labels. Raises ValueError."""
        words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
        if len(words) != 2:
            raise ValueError(
                f"found {len(words)} words; allowed: IMAGE LABELS, with a tab between them where a name has "
                "spaces; or image names alone, with labels in dataset.yaml"
            )
        image, labels = map(below, words)
        for what, name, endings in (("image", image, ENDINGS), ("labels", labels, LABEL_ENDINGS)):
            if not name.lower().endswith(endings):
                raise ValueError(f"found the {what} {name}; allowed: {', '.join(endings)}")
        return self._as_stored(image), self._as_stored(labels)

    def _by_rule(self, line: str) -> Pair:
        """Of a line that names an image, with or without its ending. Raises ValueError."""
        name, images = below(line), self._split.images or ""
        if name.lower().endswith(ENDINGS):
            return self._as_stored(_joined(images, name)), self._labels_of(name)
        there = self._called(_joined(images, name), ENDINGS)
        if not there:
            raise ValueError(f"no image {_joined(images, name)} with {', '.join(ENDINGS)}")
        if len(there) > 1:
            raise ValueError(f"{there[0]} and {there[1]} are called so; write its ending too")
        return there[0], self._labels_of(f"{name}.")

    def _labels_of(self, image: str) -> str:
        rule, name = self._split.labels or "", _stem(image)
        if PLACE in rule:
            return self._as_stored(rule.replace(PLACE, name))
        there = self._called(_joined(rule, name), LABEL_ENDINGS)
        if len(there) > 1:
            self.faults.append(f"labels: {there[0]} and {there[1]} are of one image; allowed: one")
        if not there:
            self._without.append(name)
        return there[0] if there else _joined(rule, f"{name}.png")

    def _called(self, path: str, endings: tuple[str, ...]) -> list[str]:
        """Files of that path and one of the endings, in any case."""
        folder, _, stem = path.rpartition("/")
        if folder not in self._stored:
            names = self._stored.setdefault(folder, {})
            for name in names_in(self._folder / folder):
                names.setdefault(_stem(name), []).append(name)
        names = self._stored[folder]
        return [_joined(folder, name) for name in names.get(stem, ()) if name.lower().endswith(endings)]

    def _as_stored(self, path: str) -> str:
        """A file's path with the case that its ending has there."""
        stem, _, ending = path.rpartition(".")
        there = self._called(stem, (f".{ending.lower()}",))
        return there[0] if len(there) == 1 else path

    def _suggest_suffix(self) -> None:
        """Where no image has labels of its name, but one has some that begin with it."""
        labels = (self._split.labels or "").rstrip("/")
        for name in self._without:
            folder, _, stem = _joined(labels, name).rpartition("/")
            longer = [other for other in self._stored.get(folder, ()) if other.startswith(stem)]
            if len(longer) == 1:
                file = self._stored[folder][longer[0]][0]
                self.faults.append(
                    f"labels: no {name}.png in {labels}, but {file}; "
                    f'write labels: "{labels}/{PLACE}{file.removeprefix(stem)}"'
                )
                return

    def _refuse_repeated(self, pairs: list[Pair]) -> None:
        """No two frames of a split have the same image, or images that differ in their ending alone."""
        seen: dict[str, str] = {}
        for image, _ in pairs:
            name = _stem(image)
            if name in seen:
                key = "images" if self._split.list is None else "list"
                self.faults.append(f"{key}: {seen[name]} and {image} are one frame; allowed: each once")
            seen[name] = image


def _frames(folder: Path, pairs: list[Pair], code: Code) -> Iterator[StoredFrame]:
    for image, labels in pairs:
        yield StoredFrame(_stem(image), folder / image, folder / labels, code)


def _common_size(folder: Path, name: str, splits: dict[str, tuple[StoredFrame, ...]]) -> Size | None:
    """Of all images that can be read; None where they differ. What cannot be read, `Data.check` tells."""
    images = dict.fromkeys(frame.image for frame in chain.from_iterable(splits.values()))
    with ThreadPoolExecutor() as threads:
        sizes = set(threads.map(_size_or_none, images)) - {None}
    if not sizes:
        size_of(next(iter(images)))
        raise InvalidData(f"{folder}: no image of {name} can be read")
    return sizes.pop() if len(sizes) == 1 else None


def _size_or_none(image: Path) -> Size | None:
    try:
        return size_of(image)
    except InvalidData:
        return None


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name


def _stem(image: str) -> str:
    """Without its ending, which is one of `ENDINGS`."""
    return image.rpartition(".")[0]
