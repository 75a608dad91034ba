"""TVM's CUDA text as C++ for the host: kernels become functions of a thread, their shared arrays parts of
those of the block. All else is left to ``device/kernel.h``.

Lines keep their numbers, so that what is said of a line is said of TVM's own text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from targets.errors import CompileError

_STATIC_SHARED_BYTES = 48 << 10  # what ptxas allows
_KERNEL = re.compile(
    r'extern "C" __global__ void(?:\s+__launch_bounds__\(\s*(\d+)\s*(?:,[^)]*)?\))?'
    r"\s+(\w+)\(([^)]*)\)\s*([{;])"
)
_SHARED = re.compile(r"(?<!extern )__shared__ (?:alignas\((\d+)\) )?([\w ]+?) (\w+)\[(\d+)\];")
_DYNAMIC = re.compile(r"extern __shared__ (?:(?:alignas|__align__)\((\d+)\) )?([\w ]+?) (\w+)\[\];")
_WAITS = re.compile(r"\b__(?:sync\w+|shfl\w*|ballot\w*|any_sync|all_sync|activemask|match\w+|reduce\w+)\(")
_BYTES = {
    **dict.fromkeys(("bool", "char", "signed char", "unsigned char", "uchar", "int8_t", "uint8_t"), 1),
    **dict.fromkeys(("short", "ushort", "unsigned short", "half", "__half", "int16_t", "uint16_t"), 2),
    **dict.fromkeys(("int", "uint", "unsigned", "unsigned int", "float", "int32_t", "uint32_t"), 4),
    **dict.fromkeys(("double", "long", "long long", "int64_t", "uint64_t"), 8),
}


@dataclass(frozen=True, slots=True)
class _Kernel:
    """One kernel of a text: from ``begin`` to ``end``, the next one's begin."""

    name: str
    most_threads: int
    parameters: tuple[tuple[str, str], ...]
    text: str
    line: int


def host_units(source: str, parts: int = 1) -> list[str]:
    """The C++ of a CUDA text, in at most ``parts`` files of like size that can be compiled side by side.

    The first has the table of all kernels.

    Raises:
        CompileError: no kernel, or one that needs more static shared memory than a GPU gives.
    """
    preamble, kernels = _split(source)
    if not kernels:
        raise CompileError("emulated CUDA: the text has no kernel")
    loads: list[list[_Kernel]] = [[] for _ in range(max(1, min(parts, len(kernels))))]
    for kernel in sorted(kernels, key=lambda kernel: -len(kernel.text)):
        min(loads, key=lambda load: sum(len(other.text) for other in load)).append(kernel)
    units = ["".join([preamble, *map(_written, load)]) for load in loads]
    units[0] += _table(kernels)
    return units


def _split(source: str) -> tuple[str, list[_Kernel]]:
    """What stands before the first kernel, without declarations of kernels, and the kernels."""
    found = [match for match in _KERNEL.finditer(source) if match[4] == "{"]
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
    preamble = source[: found[0].start()] if found else source
    return _KERNEL.sub("", preamble), kernels


def _parameter(text: str) -> tuple[str, str]:
    """Type and name."""
    declared = re.sub(r"\b__restrict__\b", "", text).strip()
    match = re.fullmatch(r"(.*?)\s*(\w+)", declared, re.DOTALL)
    if match is None or not match[1]:
        raise CompileError(f"emulated CUDA: cannot read the parameter {text.strip()!r}")
    return match[1], match[2]


def _written(kernel: _Kernel) -> str:
    """A kernel as a function of a thread, and its way in for the device."""
    body, shared_bytes = _with_shared(kernel)
    parameters = ", ".join(
        [
            "EmuThread &emu_",
            *(
                f"{kind} __restrict__ {name}" if kind.endswith("*") else f"{kind} {name}"
                for kind, name in kernel.parameters
            ),
        ]
    )
    given = "".join(
        f", *static_cast<{kind} *>(arguments_[{i}])" for i, (kind, _) in enumerate(kernel.parameters)
    )
    fibres = _WAITS.search(kernel.text) is not None
    if fibres:
        entry = (
            f"static void emu_enter_{kernel.name}(EmuThread &thread_, void **arguments_) "
            f"{{ emu_body_{kernel.name}(thread_{given}); }}\n"
        )
    else:
        entry = (
            f"static void emu_enter_{kernel.name}(EmuBlock &block_, void **arguments_) {{\n"
            "    EmuThread thread_{{0, 0, 0}, &block_, 0};\n"
            "    for (unsigned z_ = 0; z_ < block_.size.z; ++z_)\n"
            "        for (unsigned y_ = 0; y_ < block_.size.y; ++y_)\n"
            "            for (unsigned x_ = 0; x_ < block_.size.x; ++x_, ++thread_.linear) {\n"
            "                thread_.index = {x_, y_, z_};\n"
            f"                emu_body_{kernel.name}(thread_{given});\n"
            "            }\n"
            "}\n"
        )
    sizes = ", ".join([*(f"sizeof({kind})" for kind, _ in kernel.parameters), "0"])
    ways = f"nullptr, emu_enter_{kernel.name}" if fibres else f"emu_enter_{kernel.name}, nullptr"
    return (
        f'\n#line {kernel.line} "kernels.cu"\n'
        f"static inline void emu_body_{kernel.name}({parameters}) {{{body}"
        f"static const unsigned emu_sizes_{kernel.name}[] = {{{sizes}}};\n{entry}"
        f'extern "C" const EmuKernel emu_kernel_{kernel.name} = {{"{kernel.name}", {ways}, {shared_bytes}, '
        f"{kernel.most_threads}, {len(kernel.parameters)}, emu_sizes_{kernel.name}}};\n"
    )


def _with_shared(kernel: _Kernel) -> tuple[str, int]:
    """The body with its shared arrays at their places, and how many bytes the static ones take."""
    taken = 0

    def place(match: "re.Match[str]") -> str:
        nonlocal taken
        kind, name, bound = match[2], match[3], match[4]
        size = _size_of(kind)
        taken = -(-taken // (align := int(match[1] or size))) * align
        written = f"EMU_SHARED({kind}, {name}, {bound}, {taken});"
        taken += size * int(bound)
        return written

    body = _SHARED.sub(place, kernel.text)
    if taken > _STATIC_SHARED_BYTES:
        raise CompileError(
            f"emulated CUDA: kernel {kernel.name} has {taken} bytes of static shared memory, "
            f"allowed: {_STATIC_SHARED_BYTES}"
        )
    body = _DYNAMIC.sub(r"EMU_DYNAMIC_SHARED(\2, \3);", body)
    if "__shared__" in body:
        line = next(line.strip() for line in body.splitlines() if "__shared__" in line)
        raise CompileError(f"emulated CUDA: kernel {kernel.name}: cannot read {line!r}")
    return body, taken


def _size_of(kind: str) -> int:
    """Bytes of an element type; vectors of 3 are not padded."""
    if kind in _BYTES:
        return _BYTES[kind]
    match = re.fullmatch(r"(\w+?)([1-4])", kind)
    if match and match[1] in _BYTES | {"longlong": 8, "ulonglong": 8}:
        return (_BYTES | {"longlong": 8, "ulonglong": 8})[match[1]] * int(match[2])
    raise CompileError(f"emulated CUDA: shared arrays of {kind!r} are not known")


def _table(kernels: Sequence[_Kernel]) -> str:
    known = "".join(f'extern "C" const EmuKernel emu_kernel_{kernel.name};\n' for kernel in kernels)
    places = "".join(f"&emu_kernel_{kernel.name}, " for kernel in kernels)
    return f"\n{known}EMU_TABLE({places}nullptr)\n"
