"""Machine code for GPUs: whatever is in it, it is read or refused in one line."""

import pytest
from hypothesis import given

from targets import MissingTool
from targets.errors import InvalidCubin
from targets.toolchain.cubin import read_cubins
from targets.toolchain.cuda_compiler import find_cuda_compiler

from .mutations import bytes_like, fuzz, is_one_line

pytestmark = pytest.mark.slow
SOURCE = """
extern "C" __global__ void __launch_bounds__(64) f(float *y) {
  __shared__ float s[64];
  s[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
}
"""


@pytest.mark.parametrize(("arch", "cuda"), [("sm_72", "11.4"), ("sm_120", "12.9")])
def test_machine_code(arch: str, cuda: str) -> None:
    try:
        code = find_cuda_compiler(arch, cuda).cubin(SOURCE)
    except MissingTool as missing:
        pytest.skip(str(missing))

    @fuzz(600)
    @given(bytes_like(code))
    def run(spoilt: bytes) -> None:
        try:
            cubins = read_cubins(spoilt, "model.so")
        except InvalidCubin as error:
            is_one_line(error, "model.so")
        else:
            assert all(kernel.registers >= 0 for cubin in cubins for kernel in cubin.kernels)

    run()


@pytest.mark.parametrize(("arch", "cuda"), [("sm_72", "11.4"), ("sm_120", "12.9")])
def test_every_byte_of_its_tables(arch: str, cuda: str) -> None:
    """Each byte of the headers and of the tables once, as the largest and as the least."""
    try:
        code = find_cuda_compiler(arch, cuda).cubin(SOURCE)
    except MissingTool as missing:
        pytest.skip(str(missing))
    for place in (place for place in range(len(code)) if place < 2048 or place >= len(code) - 2048):
        for value in (0, 1, 0x7F, 0xFF):
            try:
                read_cubins(code[:place] + bytes([value]) + code[place + 1 :], "model.so")
            except InvalidCubin as error:
                is_one_line(error, "model.so")
