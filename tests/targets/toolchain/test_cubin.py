"""What machine code takes of a GPU: kernels of known use, compiled here."""

import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path

import pytest

from targets import MissingTool
from targets.errors import InvalidCubin
from targets.toolchain.cubin import Cubin, cubin_architectures, read_cubins
from targets.toolchain.cuda_compiler import find_cuda_compiler

SOURCE = """
extern "C" __global__ void __launch_bounds__(64) shared(float *y, const float *x) {
  __shared__ float s[128];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
}
extern "C" __global__ void plain(float *y) { y[threadIdx.x] = 1; }
extern "C" __global__ void __launch_bounds__(32, 1) indexed(float *y, int n) {
  float a[100];
  for (int i = 0; i < 100; i++) a[i] = y[i * n];
  for (int i = 0; i < n; i++) a[i * 7 % 100] += a[i % 100];
  for (int i = 0; i < 100; i++) y[i] = a[i];
}
extern "C" __global__ void __launch_bounds__(1024) spilled(float *y, const float *x) {
  float a[120];
#pragma unroll
  for (int i = 0; i < 120; i++) a[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 120; i++) y[(119 - i) * 1024 + threadIdx.x] = a[i] * a[i * 7 % 120];
}
"""
COMPILERS = [
    ("sm_53", "11.4"),
    ("sm_72", "11.4"),
    ("sm_87", "12.2"),
    ("sm_90", "11.8"),
    ("sm_90", "12.9"),
    ("sm_120", "12.9"),
]


@cache
def compiled(arch: str, cuda: str) -> bytes:
    try:
        return find_cuda_compiler(arch, cuda).cubin(SOURCE)
    except MissingTool as missing:
        pytest.skip(str(missing))


def check(cubin: Cubin, arch: str) -> None:
    assert cubin.architecture == arch
    kernels = {kernel.name: kernel for kernel in cubin.kernels}
    assert set(kernels) == {"shared", "plain", "indexed", "spilled"}
    shared, plain, indexed, spilled = (kernels[name] for name in ("shared", "plain", "indexed", "spilled"))
    assert [kernel.shared_bytes for kernel in (shared, plain, indexed, spilled)] == [512, 0, 0, 0]
    assert [kernel.max_threads for kernel in (shared, plain, indexed, spilled)] == [64, None, 32, 1024]
    assert shared.stack_bytes == plain.stack_bytes == 0
    assert indexed.stack_bytes == 400
    assert spilled.stack_bytes >= 4 * (120 - 64)  # 1024 threads leave 64 registers to each
    assert all(0 < kernel.registers <= 255 for kernel in kernels.values())
    assert 32 <= spilled.registers <= 64
    assert shared.constant_bytes == plain.constant_bytes + 8  # another pointer


@pytest.mark.parametrize(("arch", "cuda"), COMPILERS)
def test_resources_of_kernels(arch: str, cuda: str) -> None:
    code = compiled(arch, cuda)
    (cubin,) = read_cubins(code, "k.so")
    check(cubin, arch)
    assert read_cubins(b"before" + code + b"after" + code, "k.so") == [cubin, cubin]


def test_what_nvcc_makes(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")
    (tmp_path / "k.cu").write_text(SOURCE)
    command = [nvcc, "-arch=sm_87", "-cubin", "-o", "k.cubin", "k.cu"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"nvcc does not work: {made.stderr!r}")
    (cubin,) = read_cubins((tmp_path / "k.cubin").read_bytes(), "k.cubin")
    check(cubin, "sm_87")


def test_files_without_code_for_a_gpu() -> None:
    assert read_cubins(SOURCE.encode(), "k.cu") == []
    assert read_cubins(b"\x7fELF", "k.so") == []


def test_cut_short() -> None:
    code = compiled("sm_72", "11.4")
    start, count = struct.unpack_from("<Q", code, 40)[0], struct.unpack_from("<H", code, 60)[0]
    end = start + 64 * count
    with pytest.raises(InvalidCubin) as caught:
        read_cubins(code[: end - 1], "k.so")
    ends = f"the table of sections ends at byte {end} of {end - 1}"
    assert str(caught.value) == f"k.so: its code for the GPU cannot be read: {ends}; make the file again"
    assert cubin_architectures(code[: end - 1]) == ["sm_72"]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (40, 1 << 60, "the table of sections ends at byte"),
        (58, 63, "its header tells of"),
        (62, 0xFFFF, "names in number"),
    ],
)
def test_damaged_headers(place: int, value: int, said: str) -> None:
    code = bytearray(compiled("sm_72", "11.4"))
    struct.pack_into("<Q" if place == 40 else "<H", code, place, value)
    with pytest.raises(InvalidCubin, match=said):
        read_cubins(bytes(code), "k.so")


def test_a_record_that_names_no_function() -> None:
    code = compiled("sm_72", "11.4")
    start = code.index(struct.pack("<BBH", 4, 0x2F, 8))  # a number of registers
    spoilt = code[: start + 4] + struct.pack("<I", 1000) + code[start + 8 :]
    with pytest.raises(InvalidCubin, match=r"\.nv\.info names symbol 1000 of \d+"):
        read_cubins(spoilt, "k.so")
