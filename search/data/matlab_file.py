"""MATLAB's files of version 5 to 7, as far as labels stand in them: numbers, text, cells and structures.

After "MAT-File Format", MathWorks, chapter 1. Read here and not by SciPy since what comes from outside is
bounded: nothing is allocated by a size that a file claims, and of what is nested only that is read which is
asked for. No PyTorch.
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search.errors import InvalidData
from targets.support.reading import read_bytes

MOST_BYTES = 1 << 28  # of a file, and of what it unpacks to
_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32", 1: "latin-1", 2: "latin-1", 4: "utf-16"}
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
_MOST_SIDES, _MOST_FIELDS = 8, 1000


class _Damaged(Exception):
    """What is wrong, without the file's name."""


@dataclass(frozen=True)
class Structures:
    """An array of structures with the same fields, in MATLAB's order (columns first)."""

    fields: tuple[str, ...]
    values: tuple["Element", ...]  # of the first one's fields, then of the next one's

    def __len__(self) -> int:
        return len(self.values) // max(len(self.fields), 1)

    def __iter__(self) -> Iterator[Mapping[str, "Element"]]:
        for index in range(len(self)):
            first = index * len(self.fields)
            own = self.values[first : first + len(self.fields)]
            yield dict(zip(self.fields, own, strict=True))


@dataclass(frozen=True)
class Element:
    """A value in a file, read when it is asked for."""

    data: memoryview
    order: str
    path: Path

    @property
    def value(self) -> Any:
        """An array of numbers, text, a list of elements (a cell array), or ``Structures``.

        Raises InvalidData: damaged, or of another kind.
        """
        try:
            return _value(self)
        except _Damaged as error:
            raise InvalidData(f"{self.path}: no sound MATLAB file: {error}") from None


def read_matlab(path: Path) -> dict[str, Element]:
    """The variables in a file by name.

    Raises InvalidData: it cannot be read, is no such file, is damaged, or unpacks to more than 256 MiB.
    """
    content = memoryview(read_bytes(path, InvalidData, most_bytes=MOST_BYTES))
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    begin = bytes(content[:10])
    if order is None or begin != b"MATLAB 5.0":
        kind = "of version 7.3, which is HDF5" if begin == b"MATLAB 7.3" else "no file of MATLAB"
        raise InvalidData(f"{path}: {kind}; allowed: MATLAB's files of version 5 to 7 (save -v7 writes them)")
    try:
        return dict(_variables(content[_HEADER:], order, path))
    except _Damaged as error:
        raise InvalidData(f"{path}: no sound MATLAB file: {error}") from None


def _variables(content: memoryview, order: str, path: Path) -> Iterator[tuple[str, Element]]:
    left = MOST_BYTES
    for kind, data in _parts(content, order):
        if kind == _COMPRESSED:
            unpacked = memoryview(_unpacked(data, left))
            left -= len(unpacked)
            kind, data = next(_parts(unpacked, order), (0, unpacked[:0]))
        if kind == _MATRIX and len(data):
            yield _text_of(_headed(data, order)[2]), Element(data, order, path)


def _unpacked(data: memoryview, most: int) -> bytes:
    packed = zlib.decompressobj()
    try:
        found = packed.decompress(data, most)
    except zlib.error as error:
        raise _Damaged(str(error)) from None
    if packed.unconsumed_tail:
        raise _Damaged(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
    return found


def _parts(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element, one behind the other."""
    at = 0
    while at + 8 <= len(data):
        kind, size = (int(n) for n in np.frombuffer(data, f"{order}u4", 2, at))
        if kind >> 16:  # small: what it holds stands in the tag
            kind, size, first, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise _Damaged(f"an element of {size} bytes in four")
        else:
            first = at + 8
            end = first + size + (-size % 8 if kind != _COMPRESSED else 0)
        if first + size > len(data):
            raise _Damaged("an element ends beyond the file")
        yield kind, data[first : first + size]
        at = end


def _headed(
    data: memoryview, order: str
) -> tuple[int, tuple[int, ...], memoryview, Iterator[tuple[int, memoryview]]]:
    """Class, sides and name of an array, and its other elements."""
    parts = _parts(data, order)
    try:
        (_, flags), (_, sides), (_, name) = next(parts), next(parts), next(parts)
    except StopIteration:
        raise _Damaged("an array without a head") from None
    if len(flags) < 4 or len(sides) % 4 or not 8 <= len(sides) <= 4 * _MOST_SIDES:
        raise _Damaged("an array without sides")
    kind = int(np.frombuffer(flags, f"{order}u4", 1)[0]) & 0xFF
    shape = tuple(np.frombuffer(sides, f"{order}i4").tolist())
    if min(shape) < 0:
        raise _Damaged(f"an array of sides {shape}")
    return kind, shape, name, parts


def _value(element: Element) -> Any:
    if not len(element.data):
        return np.zeros((0, 0))
    kind, shape, _, parts = _headed(element.data, element.order)
    if kind in _NUMERIC:
        return _numbers(next(parts, (0, memoryview(b""))), shape, element.order)
    if kind == _CHAR:
        return _text(next(parts, (16, memoryview(b""))), element.order)
    if kind == _CELL:
        return _matrices(parts, math.prod(shape), element)
    if kind == _STRUCT:
        return _structures(parts, math.prod(shape), element)
    raise _Damaged(f"an array of class {kind}; allowed: numbers, text, cells and structures")


def _numbers(part: tuple[int, memoryview], shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
    kind, data = part
    dtype = np.dtype(f"{order}{_NUMBERS[kind]}") if kind in _NUMBERS else None
    if dtype is None or len(data) != math.prod(shape) * dtype.itemsize:
        raise _Damaged(f"numbers of type {kind}, {len(data)} bytes for sides {shape}")
    return np.frombuffer(data, dtype).reshape(shape, order="F")


def _text(part: tuple[int, memoryview], order: str) -> str:
    kind, data = part
    if kind not in _TEXT:
        raise _Damaged(f"text of type {kind}")
    name = _TEXT[kind]
    return bytes(data).decode(name + {"<": "-le", ">": "-be"}[order] * (name[-2:] in ("16", "32")), "replace")


def _text_of(data: memoryview) -> str:
    return bytes(data).split(b"\0")[0].decode("latin-1")


def _matrices(parts: Iterator[tuple[int, memoryview]], count: int, element: Element) -> list[Element]:
    found = [Element(data, element.order, element.path) for kind, data in parts if kind == _MATRIX]
    if len(found) != count:
        raise _Damaged(f"{len(found)} arrays where {count} should be")
    return found


def _structures(parts: Iterator[tuple[int, memoryview]], count: int, element: Element) -> Structures:
    (_, length), (_, names) = next(parts, (0, memoryview(b""))), next(parts, (0, memoryview(b"")))
    if len(length) != 4:
        raise _Damaged("structures whose names have no length")
    each = int(np.frombuffer(length, f"{element.order}i4")[0])
    if each < 1 or len(names) % each or len(names) // each > _MOST_FIELDS:
        raise _Damaged(f"{len(names)} bytes of names of {each} each")
    fields = tuple(_text_of(names[first : first + each]) for first in range(0, len(names), each))
    if len(set(fields)) < len(fields):
        raise _Damaged("a field's name twice")
    return Structures(fields, tuple(_matrices(parts, count * len(fields), element)))
