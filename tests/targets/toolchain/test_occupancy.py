"""Occupancy, beside NVIDIA's own calculation where its header is here."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from targets.cuda_stand_in import package_files
from targets.target import multiprocessors
from targets.toolchain.cubin import KernelResources
from targets.toolchain.occupancy import MULTIPROCESSORS, occupancy, resident_blocks

NVIDIAS = """
#include <stdio.h>
#include <cuda_occupancy.h>
int main() {
  int major, minor, threads, registers, shared_sm, reserved, of_thread, of_block, block;
  while (scanf("%d %d %d %d %d %d %d %d %d", &major, &minor, &threads, &registers, &shared_sm, &reserved,
               &of_thread, &of_block, &block) == 9) {
    cudaOccDeviceProp gpu = cudaOccDeviceProp();
    gpu.computeMajor = major;
    gpu.computeMinor = minor;
    gpu.maxThreadsPerBlock = 1024;
    gpu.maxThreadsPerMultiprocessor = threads;
    gpu.regsPerBlock = registers;
    gpu.regsPerMultiprocessor = 65536;
    gpu.warpSize = 32;
    gpu.sharedMemPerBlock = 49152;
    gpu.sharedMemPerMultiprocessor = shared_sm;
    gpu.sharedMemPerBlockOptin = shared_sm - reserved;
    gpu.reservedSharedMemPerBlock = reserved;
    gpu.numSms = 8;
    cudaOccFuncAttributes kernel = cudaOccFuncAttributes();
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = of_thread;
    kernel.sharedSizeBytes = of_block;
    cudaOccDeviceState state = cudaOccDeviceState();
    state.cacheConfig = CACHE_PREFER_SHARED;
    state.carveoutConfig = 100;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &gpu, &kernel, &state, block, 0)) return 1;
    printf("%d\\n", result.activeBlocksPerMultiprocessor);
  }
}
"""
KNOWN_TO_CUDA_11 = [arch for arch in MULTIPROCESSORS if int(arch.removeprefix("sm_")) <= 90]


def kernel(registers: int, shared_bytes: int = 0) -> KernelResources:
    return KernelResources(
        name="k",
        registers=registers,
        stack_bytes=0,
        shared_bytes=shared_bytes,
        constant_bytes=0,
        max_threads=None,
    )


def test_every_gpu_of_a_shipped_target_is_known() -> None:
    assert set(multiprocessors()) <= set(MULTIPROCESSORS)


@pytest.mark.parametrize(
    ("registers", "shared_bytes", "threads", "blocks", "share"),
    [
        (32, 0, 256, 8, 1.0),  # all of Volta's 64 warps
        (64, 0, 256, 4, 0.5),  # 65536 registers are 1024 threads
        (32, 48 << 10, 256, 2, 0.25),  # 96 KiB are two blocks
        (32, 0, 32, 32, 0.5),  # no more than 32 blocks
        (255, 0, 1024, 0, 0.0),  # more registers than a block may have
    ],
)
def test_xavier(registers: int, shared_bytes: int, threads: int, blocks: int, share: float) -> None:
    xavier = MULTIPROCESSORS["sm_72"]
    assert resident_blocks(kernel(registers, shared_bytes), threads, xavier) == blocks
    assert occupancy(kernel(registers, shared_bytes), threads, xavier) == share


def test_as_nvidia_calculates(tmp_path: Path) -> None:
    headers, gxx = package_files("*/include/cuda_occupancy.h"), shutil.which("g++")
    if not headers or gxx is None:
        pytest.skip("no cuda_occupancy.h or no g++")
    (tmp_path / "o.cpp").write_text(NVIDIAS)
    program = tmp_path / "o"
    include = f"-I{headers[0].parent}"
    subprocess.run([gxx, "-w", include, "-o", str(program), str(tmp_path / "o.cpp")], check=True)
    draw, rows, ours = random.Random(0), [], []
    for arch in KNOWN_TO_CUDA_11:
        gpu, number = MULTIPROCESSORS[arch], int(arch.removeprefix("sm_"))
        for _ in range(500):
            registers, shared, threads = (
                draw.randrange(256),
                draw.choice([0, draw.randrange(49153)]),
                draw.randint(1, 1024),
            )
            fixed = (number // 10, number % 10, 32 * gpu.warps, gpu.registers_per_block, gpu.shared_bytes)
            rows.append((*fixed, gpu.reserved_bytes, registers, shared, threads))
            ours.append(resident_blocks(kernel(registers, shared), threads, gpu))
    text = "\n".join(" ".join(map(str, row)) for row in rows)
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    theirs = list(map(int, done.stdout.split()))
    assert [(row, a, b) for row, a, b in zip(rows, ours, theirs, strict=True) if a != b] == []
