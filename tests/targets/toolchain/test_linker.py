"""Linking for a board: the right machine, no newer C library than its, and what is said where that fails."""

import importlib.util
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from targets import CompileError, MissingTool, load_target
from targets.spec import Toolchain
from targets.toolchain.linker import Linker, find_linker, needed_glibc

TRIPLE = "aarch64-linux-gnu"
TOOLCHAIN = Toolchain(triple=TRIPLE, glibc="2.31")
AARCH64 = 183  # e_machine of ELF
GCC, READELF = shutil.which(f"{TRIPLE}-gcc"), shutil.which(f"{TRIPLE}-readelf") or shutil.which("readelf")
HAS_ZIG = importlib.util.find_spec("ziglang") is not None

needs_gcc = pytest.mark.skipif(GCC is None, reason=f"no {TRIPLE}-gcc; apt install g++-{TRIPLE}")
needs_zig = pytest.mark.skipif(not HAS_ZIG, reason="no ziglang; pip install ziglang")

OLD = "#include <math.h>\n#include <string.h>\ndouble f(double x, char *y) { return exp(x) + strlen(y); }\n"
NEW = "#include <stdlib.h>\nunsigned f(void) { return arc4random(); }\n"  # since 2.36


@pytest.fixture
def library() -> Any:
    """``main(x, y)``: y = exp(x), float32[8], compiled for the emulated board."""
    from targets.tvm_import import tvm

    te = tvm.te
    x = te.placeholder((8,), name="x")
    y = te.compute((8,), lambda i: te.exp(x[i]), name="y")
    module = tvm.IRModule({"main": te.create_prim_func([x, y])})
    return tvm.compile(module, target=load_target("emulated-aarch64").tvm_target())


def machine(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[18:20], "little")


def source(folder: Path, text: str) -> str:
    (folder / "source.c").write_text(text, encoding="ascii")
    return str(folder / "source.c")


def listed_glibc(path: Path) -> set[tuple[int, int]]:
    """Versions of the C library that a shared object needs, as binutils lists them."""
    assert READELF is not None
    said = subprocess.run([READELF, "-V", "-W", path], capture_output=True, text=True, check=True).stdout
    return {(int(major), int(minor)) for major, minor in re.findall(r"Name: GLIBC_(\d+)\.(\d+)", said)}


@needs_gcc
def test_what_tvm_compiled_becomes_a_library_for_the_board(library: Any, tmp_path: Path) -> None:
    linker = pickle.loads(pickle.dumps(find_linker(TOOLCHAIN)))  # as it travels to build processes
    library.export_library(str(tmp_path / "a.so"), fcompile=linker)
    assert machine(tmp_path / "a.so") == AARCH64
    assert needed_glibc(tmp_path / "a.so") <= (2, 31)


@needs_gcc
@pytest.mark.skipif(READELF is None, reason="no readelf; apt install binutils")
def test_the_versions_that_are_found_are_those_that_binutils_lists(tmp_path: Path) -> None:
    assert GCC is not None
    for text in (OLD, NEW):
        out = tmp_path / "a.so"
        Linker((GCC,))(str(out), [source(tmp_path, text)])
        assert listed_glibc(out)
        assert needed_glibc(out) == max(listed_glibc(out))


def test_a_library_without_a_c_library_needs_none(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"\x7fELF GLIBC_PRIVATE GLIBCXX_3.4.30")
    assert needed_glibc(tmp_path / "a.so") == (0, 0)


@needs_gcc
def test_a_library_that_needs_a_newer_c_library_is_refused_and_gone(tmp_path: Path) -> None:
    assert GCC is not None
    out, text = tmp_path / "a.so", source(tmp_path, NEW)
    with pytest.raises(CompileError) as refused:
        Linker((GCC,), "2.31")(str(out), [text])
    assert str(refused.value) == (
        f"{out} needs C library 2.36, the target has 2.31; "
        "install a linker for that version: pip install ziglang"
    )
    assert refused.value.exit_code == 1
    assert not out.exists()
    Linker((GCC,), "2.36")(str(out), [text])
    assert machine(out) == AARCH64


@needs_gcc
def test_a_linker_that_fails_shows_its_first_fault(tmp_path: Path) -> None:
    assert GCC is not None
    (tmp_path / "bad.o").write_bytes(b"this is no object file")
    with pytest.raises(CompileError) as refused:
        Linker((GCC,))(str(tmp_path / "a.so"), [str(tmp_path / "bad.o")])
    assert f"{GCC} failed with 1: " in str(refused.value)
    assert "bad.o" in str(refused.value)
    assert "\n" not in str(refused.value)


@needs_gcc
def test_a_compiler_that_fails_shows_its_first_error_not_its_warnings(tmp_path: Path) -> None:
    assert GCC is not None
    text = source(tmp_path, '#warning "not this"\nint f(void) { return nothing; }\n')
    with pytest.raises(CompileError, match=r"error: .nothing. undeclared"):
        Linker((GCC,))(str(tmp_path / "a.so"), [text])


def test_without_any_linker_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(MissingTool) as missing:
        find_linker(TOOLCHAIN)
    assert str(missing.value) == (
        "no linker for aarch64-linux-gnu; install one: pip install ziglang, or on Debian and Ubuntu: "
        "apt install g++-aarch64-linux-gnu"
    )
    assert missing.value.exit_code == 2


def test_a_linker_that_is_there_and_cannot_link_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{TRIPLE}-gcc").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(MissingTool) as missing:
        find_linker(TOOLCHAIN)
    assert str(missing.value).startswith(
        f"the linker for {TRIPLE} does not work: {tmp_path / TRIPLE}-gcc failed with 1: no message; install"
    )


@needs_zig
def test_zig_links_with_the_c_library_of_the_target(library: Any, tmp_path: Path) -> None:
    linker = find_linker(TOOLCHAIN)
    assert linker.command[1:] == ("-m", "ziglang", "cc", "-O2", "-target", f"{TRIPLE}.2.31")
    library.export_library(str(tmp_path / "a.so"), fcompile=linker)
    assert machine(tmp_path / "a.so") == AARCH64
    assert needed_glibc(tmp_path / "a.so") <= (2, 31)
    with pytest.raises(CompileError, match="arc4random"):  # its headers have not got it
        linker(str(tmp_path / "b.so"), [source(tmp_path, NEW)])
