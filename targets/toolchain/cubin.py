"""What kernels of CUDA machine code take of a GPU, as the code's own tables say.

A cubin is an ELF file of NVIDIA's. TVM puts it somewhere into a shared object, so cubins are searched for.
NVIDIA does not document its sections: what they mean was learnt from kernels of known use, sm_53 to sm_120.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from targets.errors import InvalidCubin

_MAGIC = re.compile(rb"\x7fELF\x02\x01")  # 64 bits, little-endian
_EM_CUDA = 190
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMBOLS, _NO_BITS = 2, 8  # types of sections
_FUNCTION, _ENTRY = 2, 0x10  # a symbol's type; the mark of a kernel in what is "other" of it

# Records of .nv.info: how long they are, and which are read
_SIZED, _FORMATS = 4, (1, 2, 3, 4)
_MAX_THREADS, _REQUIRED_THREADS, _FRAME_BYTES, _STACK_BYTES, _REGISTERS = 0x05, 0x10, 0x11, 0x12, 0x2F
_RESERVED_BYTES, _SINCE = 1024, 90  # of shared memory, the GPU's own; in kernels' sections since sm_90


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelResources:
    """What one kernel takes.

    Attributes:
        registers: of each thread.
        stack_bytes: of each thread's memory in DRAM: spilled registers and arrays that are indexed.
        shared_bytes: of each block, as far as the code fixes them; what the GPU keeps for itself is left out.
        constant_bytes: of the bank that holds the arguments.
        max_threads: most threads of a block that it was compiled for, where it was told.
    """

    name: str
    registers: int
    stack_bytes: int
    shared_bytes: int
    constant_bytes: int
    max_threads: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cubin:
    """Machine code for one architecture (``sm_72``)."""

    architecture: str
    kernels: tuple[KernelResources, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    type: int
    body: bytes
    size: int
    info: int


def cubin_architectures(data: bytes) -> list[str]:
    """Architectures (``sm_72``) of the CUDA machine code in a file, in the order found; none for source."""
    return [f"sm_{_number(data[start:])}" for start in _starts(data)]


def read_cubins(data: bytes, where: str) -> list[Cubin]:
    """The CUDA machine code in a file, in the order found.

    Args:
        where: begins the error's text.

    Raises:
        InvalidCubin: a cubin's tables are damaged or cut short.
    """
    try:
        return [_read(data[start:]) for start in _starts(data)]
    except _Damaged as damage:
        raise InvalidCubin(
            f"{where}: its code for the GPU cannot be read: {damage}; make the file again"
        ) from None


class _Damaged(Exception):
    pass


def _starts(data: bytes) -> Iterator[int]:
    for match in _MAGIC.finditer(data):
        header = data[match.start() : match.start() + _HEADER.size]
        if len(header) == _HEADER.size and _HEADER.unpack(header)[2] == _EM_CUDA:
            yield match.start()


def _number(elf: bytes) -> int:
    """Of the architecture."""
    flags: int = _HEADER.unpack_from(elf)[7]
    # CUDA 13 moved it by a byte, and says so in the ABI's version
    return (flags >> 8 if elf[8] >= 8 else flags) & 0xFF


def _read(elf: bytes) -> Cubin:
    sections = {section.name: section for section in _sections(elf)}
    values, number = dict(_values(sections)), _number(elf)
    reserved_bytes = _RESERVED_BYTES if number >= _SINCE else 0
    kernels = [_kernel(name, sections, values, reserved_bytes) for name in _entries(sections)]
    return Cubin(architecture=f"sm_{number}", kernels=tuple(kernels))


def _kernel(
    name: str, sections: dict[str, _Section], values: dict[tuple[int, str], int], reserved_bytes: int
) -> KernelResources:
    registers = values.get((_REGISTERS, name))
    if registers is None:
        raise _Damaged(f"kernel {name} has no number of registers")
    most = [
        math.prod(_numbers(payload, 3))
        for attribute, payload in _records(sections.get(f".nv.info.{name}"))
        if attribute in (_MAX_THREADS, _REQUIRED_THREADS)
    ]
    return KernelResources(
        name=name,
        registers=registers,
        stack_bytes=max(values.get((_FRAME_BYTES, name), 0), values.get((_STACK_BYTES, name), 0)),
        shared_bytes=max(0, _size(sections, f".nv.shared.{name}") - reserved_bytes),
        constant_bytes=_size(sections, f".nv.constant0.{name}"),
        max_threads=min(most, default=None),
    )


def _values(sections: dict[str, _Section]) -> Iterator[tuple[tuple[int, str], int]]:
    """Numbers that .nv.info gives to functions: attribute and function, and the number."""
    symbols = [name for name, _, _ in _symbols(sections)]
    for attribute, payload in _records(sections.get(".nv.info")):
        if attribute in (_REGISTERS, _FRAME_BYTES, _STACK_BYTES):
            symbol, number = _numbers(payload, 2)
            if symbol >= len(symbols):
                raise _Damaged(f".nv.info names symbol {symbol} of {len(symbols)}")
            yield (attribute, symbols[symbol]), number


def _records(section: _Section | None) -> Iterator[tuple[int, bytes]]:
    """Attributes of a section, and what they hold beyond their first four bytes."""
    body, start = section.body if section else b"", 0
    while start < len(body):
        how, attribute, size = _unpack(struct.Struct("<BBH"), body, start, ".nv.info")
        if how not in _FORMATS:
            raise _Damaged(f".nv.info has a record of the unknown form {how}")
        start += 4
        length = size if how == _SIZED else 0
        yield attribute, body[start : start + length]
        start += length


def _numbers(payload: bytes, count: int) -> tuple[int, ...]:
    return _unpack(struct.Struct(f"<{count}I"), payload, 0, "a record of .nv.info")


def _entries(sections: dict[str, _Section]) -> list[str]:
    """Names of the kernels; functions that they call are none."""
    return [name for name, kind, other in _symbols(sections) if kind == _FUNCTION and other & _ENTRY]


def _symbols(sections: dict[str, _Section]) -> Iterator[tuple[str, int, int]]:
    """Names, types and what is "other" of all symbols, in their order."""
    table, names = sections.get(".symtab"), sections.get(".strtab")
    if table is None or names is None or table.type != _SYMBOLS:
        raise _Damaged("it has no table of symbols")
    for start in range(0, len(table.body), _SYMBOL.size):
        name, info, other, *_ = _unpack(_SYMBOL, table.body, start, "the table of symbols")
        yield _text(names.body, name), info & 0xF, other


def _sections(elf: bytes) -> Iterator[_Section]:
    header = _unpack(_HEADER, elf, 0, "the header")
    start, size, count, names_index = header[6], header[11], header[12], header[13]
    if size != _SECTION.size or names_index >= count:
        raise _Damaged(f"its header tells of {count} sections of {size} bytes, names in number {names_index}")
    rows = [_unpack(_SECTION, elf, start + size * i, "the table of sections") for i in range(count)]
    names = _body(elf, rows[names_index])
    for row in rows:
        yield _Section(_text(names, row[0]), row[1], _body(elf, row), row[5], row[7])


def _body(elf: bytes, row: tuple[Any, ...]) -> bytes:
    start, size = row[4], row[5]
    if row[1] == _NO_BITS:
        return b""
    if start + size > len(elf):
        raise _Damaged(f"a section ends at byte {start + size} of {len(elf)}")
    return elf[start : start + size]


def _size(sections: dict[str, _Section], name: str) -> int:
    return sections[name].size if name in sections else 0


def _text(names: bytes, start: int) -> str:
    end = names.find(b"\0", start)
    if start >= len(names) or end < 0:
        raise _Damaged(f"a name begins at byte {start} of {len(names)} and has no end")
    return names[start:end].decode("ascii", errors="backslashreplace")


def _unpack(form: struct.Struct, data: bytes, start: int, what: str) -> tuple[Any, ...]:
    if start + form.size > len(data):
        raise _Damaged(f"{what} ends at byte {start + form.size} of {len(data)}")
    return form.unpack_from(data, start)
