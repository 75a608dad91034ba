"""Which NVRTC is taken, and what it makes of source."""

import locale
import os
import pickle
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from targets import CompileError, MissingTool
from targets.toolchain.cubin import cubin_architectures
from targets.toolchain.cuda_compiler import (
    CudaCompiler,
    find_cuda_compiler,
    plain_architecture,
)

KERNEL = """
#include <cuda/std/cstdint>
using cuda::std::int64_t;
extern "C" __global__ void __launch_bounds__(32) scale(float *y, const float *x, int64_t n) {
  if (blockIdx.x * 32 + threadIdx.x < n) y[blockIdx.x * 32 + threadIdx.x] = 2.0f * x[threadIdx.x];
}
"""
HALF = """
#include <cuda_fp16.h>
extern "C" __global__ void scale(half *y, const half *x) {
  y[threadIdx.x] = hexp(x[threadIdx.x]) * __float2half_rn(2.0f) + x[0];
}
"""

NVRTC = """
int nvrtcVersion(int *major, int *minor) { *major = MAJOR; *minor = 99; return 0; }
int nvrtcGetNumSupportedArchs(int *count) { *count = 2; return 0; }
int nvrtcGetSupportedArchs(int *numbers) { numbers[0] = 72; numbers[1] = 87; return 0; }
"""


def compiler(arch: str, cuda: str | None) -> CudaCompiler:
    try:
        return find_cuda_compiler(arch, cuda)
    except MissingTool as missing:
        pytest.skip(str(missing))


def toolkit(folder: Path, source: str) -> Path:
    """A folder like a CUDA toolkit's, whose NVRTC is compiled from C source."""
    (folder / "lib64").mkdir(parents=True)
    (folder / "nvrtc.c").write_text(source)
    library = folder / "lib64" / "libnvrtc.so.11.9"
    subprocess.run(["gcc", "-shared", "-o", str(library), str(folder / "nvrtc.c")], check=True)
    return library


@pytest.mark.parametrize("source", [KERNEL, HALF], ids=["float32", "float16"])
@pytest.mark.parametrize(
    ("arch", "cuda", "major"),
    [
        ("sm_72", "11.4", 11),  # Xavier
        ("sm_87", "11.4", 11),  # Orin with JetPack 5
        ("sm_87", "12.2", 12),  # Orin with JetPack 6
        ("sm_90", "12.9", 12),
        ("sm_90a", "12.9", 12),
        ("sm_90", "13.0", 13),
    ],
)
def test_machine_code_for_the_device(arch: str, cuda: str, major: int, source: str) -> None:
    found = compiler(arch, cuda)
    assert found.version[0] == major
    code = found.cubin(source)
    assert code.startswith(b"\x7fELF")
    assert cubin_architectures(code) == [plain_architecture(arch)]
    assert b"scale" in code
    assert b"__global__" not in code


def test_it_travels_to_other_processes() -> None:
    found = compiler("sm_72", "11.4")
    assert cubin_architectures(pickle.loads(pickle.dumps(found)).cubin(KERNEL)) == ["sm_72"]


@pytest.mark.parametrize("cuda", ["11.4", "12.2"])
def test_text_files_are_read_as_before(cuda: str) -> None:
    found, before = compiler("sm_87", cuda), locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    try:
        found.cubin(KERNEL)
        with pytest.raises(CompileError):
            found.cubin("no source")
        assert locale.nl_langinfo(locale.CODESET) == "UTF-8"  # what open() asks
        assert locale.setlocale(locale.LC_ALL) == "C.UTF-8"
    finally:
        locale.setlocale(locale.LC_ALL, before)


def test_this_machines_gpu_gets_the_newest() -> None:
    newest = compiler("sm_87", None).version
    for cuda in ("11.4", "12.2"):
        assert newest >= compiler("sm_87", cuda).version


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            'extern "C" __global__ void f(float *y) {\n  y[0] = x;\n}\nint g() { return z; }',
            'NVRTC: tvm_kernels.cu(2): error: identifier "x" is undefined',
        ),
        ("#error no such thing", "NVRTC: tvm_kernels.cu(1): "),
    ],
)
def test_source_that_it_refuses(source: str, said: str) -> None:
    with pytest.raises(CompileError) as caught:
        compiler("sm_72", "11.4").cubin(source)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_no_compiler_of_the_devices_version() -> None:
    with pytest.raises(MissingTool) as caught:
        find_cuda_compiler("sm_72", "10.2")
    said = str(caught.value)
    assert said.startswith("no compiler for sm_72 and CUDA 10.2: NVRTC found here: ")
    assert said.endswith("; install a CUDA 10 toolkit and set CUDA_HOME to it")
    assert caught.value.exit_code == 2


def test_an_architecture_that_is_none() -> None:
    with pytest.raises(MissingTool, match=r"^no compiler for sm_xx and CUDA 12\.2: NVRTC found here: "):
        find_cuda_compiler("sm_xx", "12.2")


def test_an_architecture_that_the_devices_version_has_dropped() -> None:
    with pytest.raises(MissingTool) as caught:
        find_cuda_compiler("sm_72", "13.0")
    hint = "CUDA 13 has dropped sm_72: correct toolchain.cuda or tvm in the target's file"
    assert str(caught.value).endswith(f"; {hint}")


def test_none_installed_names_the_packages(tmp_path: Path) -> None:
    """In an environment that has this project and none of NVIDIA's packages."""
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if (
            not path.name.startswith("nvidia") and path.name != "typing.py"
        ):  # an old backport hides Python's own
            (tmp_path / path.name).symlink_to(path)
    script = (
        "from targets.toolchain.cuda_compiler import find_cuda_compiler\nfind_cuda_compiler('sm_72', '11.4')"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": f"{Path(__file__).parents[3]}{os.pathsep}{tmp_path}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    if "sm_" in done.stderr.splitlines()[-1].partition("found here")[2]:
        pytest.skip("this machine has a CUDA toolkit")
    assert done.stderr.splitlines()[-1] == (
        "targets.errors.MissingTool: no compiler for sm_72 and CUDA 11.4: NVRTC found here: none; install "
        "it: pip install 'squeezenas-tvm[cuda11]', or a CUDA 11 toolkit with CUDA_HOME set"
    )


def test_a_toolkit_of_the_users_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = toolkit(tmp_path, NVRTC.replace("MAJOR", "11"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert find_cuda_compiler("sm_72", "11.4") == CudaCompiler(library, (11, 99), "sm_72")
    with pytest.raises(MissingTool, match=r"found here: (.*, )?11\.99 \(sm_72 to sm_87\).*; install it: "):
        find_cuda_compiler("sm_999", "11.4")


@pytest.mark.parametrize("content", ["no library", "int nothing;", "int nvrtcVersion(void) { return 0; }"])
def test_a_library_that_is_no_compiler_is_left_out(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content == "no library":
        (tmp_path / "lib64").mkdir()
        (tmp_path / "lib64" / "libnvrtc.so.11.9").write_text(content)
    else:
        toolkit(tmp_path, content)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(MissingTool):
        find_cuda_compiler("sm_72", "10.2")


def test_float16_without_headers_says_what_is_missing(tmp_path: Path) -> None:
    library = toolkit(tmp_path, NVRTC.replace("MAJOR", "10"))
    with pytest.raises(MissingTool) as caught:  # newer headers may be here: they do not compile
        CudaCompiler(library, (10, 2), "sm_72").cubin(HALF)
    assert str(caught.value) == (
        f"float16 for sm_72: no headers (cuda_fp16.h) of CUDA 10 or older are here, for {library}; install "
        "them: pip install --force-reinstall --no-deps nvidia-cuda-runtime-cu11==11.8.89"
    )


def test_architectures_of_files_without_gpu_code(tmp_path: Path) -> None:
    assert cubin_architectures(KERNEL.encode()) == []
    assert cubin_architectures(Path(sys.executable).resolve().read_bytes()) == []
    assert cubin_architectures(b"\x7fELF") == []


def test_architectures_of_what_nvcc_makes(tmp_path: Path) -> None:
    """Both ways of writing the number, the one before CUDA 13 and the one since."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")
    (tmp_path / "k.cu").write_text('extern "C" __global__ void f(float *y) { y[0] = 1; }')
    made = subprocess.run(
        [nvcc, "-arch=sm_87", "-cubin", "-o", "k.cubin", "k.cu"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"nvcc does not work: {made.stderr!r}")
    assert cubin_architectures((tmp_path / "k.cubin").read_bytes()) == ["sm_87"]
