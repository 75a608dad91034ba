"""TVM's CUDA text as C++ for the host: kernels become functions of a thread, their shared arrays parts of
those of the block. All else is left to ``device/kernel.h``.

Lines keep their numbers, so that what is said of a line is said of TVM's own text.
"""

import re
from dataclasses import dataclass, field

from targets.errors import CompileError

_STATIC_SHARED_BYTES = 48 << 10  # what ptxas allows
_LOCAL_BYTES = 60 << 10  # kLocalBytes in block.h
_GAP_BYTES = 64  # between arrays that are checked
_KERNEL = re.compile(
    r'extern "C" __global__ void(?:\s+__launch_bounds__\(\s*(\d+)\s*(?:,[^)]*)?\))?'
    r"\s+(\w+)\(([^)]*)\)\s*([{;])"
)
_SHARED = re.compile(r"(?<!extern )__shared__ (?:alignas\((\d+)\) )?([\w ]+?) (\w+)\[(\d+)\];")
_LOCAL = re.compile(r"^( *)alignas\((\d+)\) ([\w ]+?) (\w+)\[(\d+)\];", re.MULTILINE)
_DYNAMIC = re.compile(r"extern __shared__ (?:(?:alignas|__align__)\((\d+)\) )?([\w ]+?) (\w+)\[\];")
_WAITS = re.compile(r"\b__(?:sync\w+|shfl\w*|ballot\w*|any_sync|all_sync|activemask|match\w+|reduce\w+)\(")
_BYTES = {
    **dict.fromkeys(("bool", "char", "signed char", "unsigned char", "uchar", "int8_t", "uint8_t"), 1),
    **dict.fromkeys(("short", "ushort", "unsigned short", "half", "__half", "int16_t", "uint16_t"), 2),
    **dict.fromkeys(("int", "uint", "unsigned", "unsigned int", "float", "int32_t", "uint32_t"), 4),
    **dict.fromkeys(("double", "long", "long long", "int64_t", "uint64_t"), 8),
    **dict.fromkeys(("longlong", "ulonglong"), 8),
}


@dataclass(frozen=True, slots=True)
class _Kernel:
    """One kernel of a text.

    Attributes:
        most_threads: of a block; 0 where the text does not say.
        parameters: type and name of each.
        text: from behind the opening brace to the next kernel.
        line: of the brace.
    """

    name: str
    most_threads: int
    parameters: tuple[tuple[str, str], ...]
    text: str
    line: int


@dataclass(slots=True)
class _Memory:
    """Where arrays of a kernel lie, one behind the other.

    Attributes:
        bytes: that they take on a GPU.
        end: that they take here, with gaps between those that are checked.
        arrays: name, offset and bytes.
    """

    gap: int
    bytes: int = 0
    end: int = 0
    arrays: list[tuple[str, int, int]] = field(default_factory=list)

    def place(self, kind: str, name: str, bound: int, align: int) -> int:
        """The offset of an array."""
        size = _size_of(kind) * bound
        offset = -(-self.end // align) * align
        self.bytes = -(-self.bytes // align) * align + size
        self.end = offset + size + self.gap
        self.arrays.append((name, offset, size))
        return offset


def host_units(source: str, parts: int = 1, *, checked: bool = False) -> list[str]:
    """The C++ of a CUDA text, in at most ``parts`` files of like size that can be compiled side by side.

    The first has the table of all kernels.

    Args:
        checked: with every array in memory that the device watches.

    Raises:
        CompileError: no kernel, or one that needs more static shared memory than a GPU gives.
    """
    preamble, kernels = _split(source)
    loads: list[list[_Kernel]] = [[] for _ in range(max(1, min(parts, len(kernels))))]
    for kernel in sorted(kernels, key=lambda kernel: -len(kernel.text)):
        min(loads, key=lambda load: sum(len(other.text) for other in load)).append(kernel)
    units = ["".join([preamble, *(_written(kernel, checked) for kernel in load)]) for load in loads]
    known = "".join(f'extern "C" const EmuKernel emu_kernel_{kernel.name};\n' for kernel in kernels)
    places = "".join(f"&emu_kernel_{kernel.name}, " for kernel in kernels)
    units[0] += f"\n{known}EMU_TABLE({places}nullptr)\n"
    return units


def _split(source: str) -> tuple[str, list[_Kernel]]:
    """What stands before the first kernel, without declarations of kernels, and the kernels."""
    found = [match for match in _KERNEL.finditer(source) if match[4] == "{"]
    if not found:
        raise CompileError("emulated CUDA: the text has no kernel")
    ends = [match.start() for match in found[1:]] + [len(source)]
    kernels = [
        _Kernel(
            match[2],
            int(match[1] or 0),
            tuple(_parameter(text) for text in match[3].split(",") if text.strip()),
            source[match.end() : end],
            source.count("\n", 0, match.end()) + 1,
        )
        for match, end in zip(found, ends, strict=True)
    ]
    return _KERNEL.sub("", source[: found[0].start()]), kernels


def _parameter(text: str) -> tuple[str, str]:
    """Type and name."""
    declared = re.sub(r"\b__restrict__\b", "", text).strip()
    match = re.fullmatch(r"(.*?)\s*(\w+)", declared, re.DOTALL)
    if match is None or not match[1]:
        raise CompileError(f"emulated CUDA: cannot read the parameter {text.strip()!r}")
    return match[1], match[2]


def _written(kernel: _Kernel, checked: bool) -> str:
    """A kernel as a function of a thread, and what the device is to know of it."""
    shared, local = _Memory(_GAP_BYTES * checked), _Memory(_GAP_BYTES)
    body = _with_places(kernel, shared, local if checked else None)
    parameters = "".join(
        f", {kind} {'__restrict__ ' if kind.endswith('*') else ''}{name}" for kind, name in kernel.parameters
    )
    by_thread = checked or _WAITS.search(kernel.text) is not None
    name = kernel.name
    return (
        f'\n#line {kernel.line} "kernels.cu"\n'
        f"static inline void emu_body_{name}(EmuThread &emu_{parameters}) {{{body}"
        f'\n#line 1 "entries.cu"\n{_entry(kernel, by_thread)}{_described(kernel, shared, local, checked)}'
        f'extern "C" const EmuKernel emu_kernel_{name} = {{"{name}", '
        f"{f'nullptr, emu_enter_{name}' if by_thread else f'emu_enter_{name}, nullptr'}, "
        f"{shared.end}, {kernel.most_threads}, {len(kernel.parameters)}, emu_sizes_{name}, emu_names_{name}, "
        f"{f'emu_arrays_{name}' if checked else 'nullptr'}, {local.end}}};\n"
    )


def _entry(kernel: _Kernel, by_thread: bool) -> str:
    """How the device calls a kernel: a thread of it, or all threads of a block one after the other."""
    given = "".join(f", *static_cast<{kind} *>(given_[{i}])" for i, (kind, _) in enumerate(kernel.parameters))
    call = f"emu_body_{kernel.name}(thread_{given});"
    if by_thread:
        return f"EMU_ENTRY emu_enter_{kernel.name}(EmuThread &thread_, void **given_) {{ {call} }}\n"
    return (
        f"EMU_ENTRY emu_enter_{kernel.name}(EmuBlock &block_, void **given_) {{ EMU_EACH_THREAD({call}) }}\n"
    )


def _described(kernel: _Kernel, shared: _Memory, local: _Memory, checked: bool) -> str:
    """Sizes and names of the parameters, and where checked arrays lie."""
    sizes = "".join(f"sizeof({kind}), " for kind, _ in kernel.parameters)
    names = "".join(f'"{name}", ' for _, name in kernel.parameters)
    text = (
        f"static const unsigned emu_sizes_{kernel.name}[] = {{{sizes}0}};\n"
        f"static const char *const emu_names_{kernel.name}[] = {{{names}nullptr}};\n"
    )
    if not checked:
        return text
    arrays = "".join(
        f'{{"{name}", {kind}, {offset}, {size}}}, '
        for kind, memory in (("true", shared), ("false", local))
        for name, offset, size in memory.arrays
    )
    return f"{text}static const EmuArray emu_arrays_{kernel.name}[] = {{{arrays}{{nullptr, false, 0, 0}}}};\n"


def _with_places(kernel: _Kernel, shared: _Memory, local: _Memory | None) -> str:
    """The body of a kernel whose shared and, if wanted, own arrays have places."""

    def in_shared(match: "re.Match[str]") -> str:
        kind, name, bound = match[2], match[3], int(match[4])
        offset = shared.place(kind, name, bound, int(match[1] or _size_of(kind)))
        return f"EMU_SHARED({kind}, {name}, {bound}, {offset});"

    def in_local(match: "re.Match[str]") -> str:
        assert local is not None
        kind, name, bound = match[3], match[4], int(match[5])
        offset = local.place(kind, name, bound, int(match[2]))
        return f"{match[1]}EMU_LOCAL({kind}, {name}, {bound}, {offset});"

    body = _SHARED.sub(in_shared, kernel.text)
    if shared.bytes > _STATIC_SHARED_BYTES:
        raise CompileError(
            f"emulated CUDA: kernel {kernel.name} has {shared.bytes} bytes of static shared memory, "
            f"allowed: {_STATIC_SHARED_BYTES}"
        )
    body = _DYNAMIC.sub(r"EMU_DYNAMIC_SHARED(\2, \3);", body)
    if "__shared__" in body:
        line = next(line.strip() for line in body.splitlines() if "__shared__" in line)
        raise CompileError(f"emulated CUDA: kernel {kernel.name}: cannot read {line!r}")
    if local is not None:
        body = _LOCAL.sub(in_local, body)
        if local.end > _LOCAL_BYTES:
            raise CompileError(
                f"emulated CUDA: kernel {kernel.name} has {local.bytes} bytes of arrays a thread, "
                "more than can be checked"
            )
    return body


def _size_of(kind: str) -> int:
    """Bytes of an element type; vectors of 3 are not padded."""
    if kind in _BYTES:
        return _BYTES[kind]
    match = re.fullmatch(r"(\w+?)([1-4])", kind)
    if match is None or match[1] not in _BYTES:
        raise CompileError(f"emulated CUDA: arrays of {kind!r} are not known")
    return _BYTES[match[1]] * int(match[2])
