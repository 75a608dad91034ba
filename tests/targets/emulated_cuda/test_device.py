"""The emulated GPU: what kernels compute on it, what it refuses, and what checking finds."""

import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.emulated_cuda.libraries import host_compiler
from targets.errors import MissingTool

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # what is pickled is of this very module
from launch import Came, Launch  # noqa: E402

sys.path.remove(str(HERE))

SOURCE = """
#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(64) lanes(int* __restrict__ out);
extern "C" __global__ void __launch_bounds__(64) lanes(int* __restrict__ out) {
  int lane = threadIdx.x;
  int* mine = out + threadIdx.x * 8;
  mine[0] = __shfl_down_sync(0xffffffff, lane, 3, 16);
  mine[1] = __shfl_up_sync(0xffffffff, lane, 3, 16);
  mine[2] = __shfl_xor_sync(0xffffffff, lane, 5, 32);
  mine[3] = __shfl_sync(0xffffffff, lane, 33, 32);
  mine[4] = (int)__ballot_sync(0xffffffff, lane % 3 == 0);
  __syncwarp();
  if (lane < 19) {
    mine[5] = (int)__activemask();
    int next = __shfl_down_sync(__activemask(), lane, 1, 32);
    if (lane < 18) {
      mine[6] = next;
    }
  }
  __syncthreads();
  mine[7] = blockDim.x * gridDim.x;
}
extern "C" __global__ void halves(half* __restrict__ out, half* __restrict__ x, half* __restrict__ y) {
  int i = blockIdx.x * 32 + threadIdx.x;
  half2 pair = *(half2*)(x + i / 2 * 2);
  out[i] = x[i] * y[i] + __hmax(hexp(x[i]), ((half)0.5f)) - (i % 2 ? pair.y : pair.x);
}
extern "C" __global__ void vectors(float* __restrict__ out, float* __restrict__ x) {
  int2 at = make_int2(threadIdx.x * 4, threadIdx.y);
  float4 v = *(float4*)(x + at.y * 32 + at.x);
  float3 w = make_float3(v.x, v.y, v.z);
  *(float4*)(out + at.y * 32 + at.x) = make_float4(w.z, w.y, w.x, v.w);
}
extern "C" __global__ void turned(float* __restrict__ out, float* __restrict__ x, int n) {
  extern __shared__ uchar4 memory[];
  float* buffer = (float*)memory;
  buffer[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = buffer[n - 1 - threadIdx.x];
}
extern "C" __global__ void counted(int* __restrict__ x) { x[threadIdx.x] += 1; }
extern "C" __global__ void no_barrier(float* __restrict__ out, float* __restrict__ x) {
  __shared__ alignas(64) float buffer[64];
  buffer[threadIdx.x] = x[threadIdx.x];
  out[threadIdx.x] = buffer[63 - threadIdx.x];
}
extern "C" __global__ void unwritten(float* __restrict__ out, float* __restrict__ x, int n) {
  alignas(64) float mine[4];
  mine[n] = x[threadIdx.x];
  out[threadIdx.x] = mine[(threadIdx.x + n) % 4];
}
extern "C" __global__ void dropped(float* __restrict__ out, float* __restrict__ x) {
  alignas(64) float mine[1];
  if (threadIdx.x < 8) {
    mine[0] = x[threadIdx.x];
  }
  mine[0] = mine[0] + __shfl_down_sync(0xffffffff, mine[0], 4, 32);
  if (threadIdx.x < 4) {
    out[threadIdx.x] = mine[0];
  }
}
extern "C" __global__ void stranger(int* __restrict__ out) {
  if (threadIdx.x < 8) {
    out[threadIdx.x] = __shfl_sync(__activemask(), (int)threadIdx.x, 9, 32);
  }
}
extern "C" __global__ void beyond(float* __restrict__ out, float* __restrict__ x) {
  out[threadIdx.x] = x[threadIdx.x * 2];
}
extern "C" __global__ void crooked(float* __restrict__ out, float* __restrict__ x) {
  float2 v = *(float2*)(x + threadIdx.x + 1);
  out[threadIdx.x] = v.x + v.y;
}
extern "C" __global__ void outside(float* __restrict__ out, float* __restrict__ x, int n) {
  alignas(64) float mine[4];
  mine[0] = x[threadIdx.x];
  out[threadIdx.x] = mine[0] + 0.0f * mine[n];
}
extern "C" __global__ void together(int* __restrict__ out) { out[0] = threadIdx.x; }
extern "C" __global__ void alike(int* __restrict__ out) { out[0] = 7; }
extern "C" __global__ void hanging(float* __restrict__ out, float* __restrict__ x) {
  if (threadIdx.x < 32) {
    __syncthreads();
  }
  out[threadIdx.x] = x[threadIdx.x];
}
"""
CHILD = f"import sys; sys.path.insert(0, {str(HERE)!r}); import launch; launch.main()"
ONE = (1, 1, 1)
X = np.random.default_rng(0).standard_normal(256).astype("float32")

HALVES = X[:128].astype("float16").reshape(2, 64)


def out(size: int = 64, dtype: str = "float32") -> Any:
    return np.zeros(size, dtype)


LAUNCHES = {
    "lanes": Launch("lanes", ONE, (64, 1, 1), [out(512, "int32")]),
    "halves": Launch("halves", (2, 1, 1), (32, 1, 1), [out(64, "float16"), *HALVES]),
    "vectors": Launch("vectors", ONE, (8, 8, 1), [out(256), X]),
    "turned": Launch("turned", ONE, (64, 1, 1), [out(), X, 64], shared_bytes=256),
    "counted": Launch("counted", ONE, (64, 1, 1), [out(64, "int32")], recorded=True),
    "large": Launch("turned", ONE, (64, 1, 1), [out(), X, 64], shared_bytes=60 << 10),
    "opted in": Launch("turned", ONE, (64, 1, 1), [out(), X, 64], 60 << 10, asked_shared_bytes=60 << 10),
    "too large": Launch("turned", ONE, (64, 1, 1), [out(), X, 64], 98 << 10, asked_shared_bytes=98 << 10),
    "many threads": Launch("counted", ONE, (1024, 2, 1), [out(64, "int32")]),
    "bounded": Launch("lanes", ONE, (128, 1, 1), [out(1024, "int32")]),
    "deep": Launch("counted", (1, 1, 65536), ONE, [out(64, "int32")]),
    "hanging": Launch("hanging", ONE, (64, 1, 1), [out(), X]),
}
CHECKED = {
    **{name: LAUNCHES[name] for name in ("lanes", "halves", "vectors", "turned", "hanging")},
    "no_barrier": Launch("no_barrier", ONE, (64, 1, 1), [out(), X]),
    "unwritten": Launch("unwritten", ONE, (64, 1, 1), [out(), X, 1]),
    "dropped": Launch("dropped", ONE, (32, 1, 1), [out(), X]),
    "stranger": Launch("stranger", ONE, (32, 1, 1), [out(8, "int32")]),
    "beyond": Launch("beyond", ONE, (64, 1, 1), [out(), X[:100].copy()]),
    "crooked": Launch("crooked", ONE, (32, 1, 1), [out(), X]),
    "outside": Launch("outside", ONE, (32, 1, 1), [out(), X, 5]),
    "together": Launch("together", ONE, (64, 1, 1), [out(1, "int32")]),
    "alike": Launch("alike", ONE, (64, 1, 1), [out(1, "int32")]),
}


def launched(launches: dict[str, Launch], *, checked: bool) -> dict[str, Any]:
    try:
        host_compiler()
    except MissingTool as missing:
        pytest.skip(str(missing))
    cubin = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 190) + bytes(44)
    request = {"arch": "sm_72", "checked": checked, "source": SOURCE, "launches": list(launches.values())}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(HERE)!r}); import launch; launch.main()",
        ],
        input=pickle.dumps(request | {"cubin": cubin}),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    answers: dict[str, Any] = pickle.loads(done.stdout)
    return answers | {"came": dict(zip(launches, answers["came"], strict=True))}


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return launched(LAUNCHES, checked=False)


@pytest.fixture(scope="module")
def checked() -> dict[str, Any]:
    return launched(CHECKED, checked=True)


@pytest.mark.parametrize("mode", ["plain", "checked"])
def test_kernels_compute_what_they_say(mode: str, request: pytest.FixtureRequest) -> None:
    came: dict[str, Came] = request.getfixturevalue(mode)["came"]
    lane = np.arange(64)
    rows = came["lanes"].arrays[0].reshape(64, 8)
    within = lane % 32
    np.testing.assert_array_equal(rows[:, 0], np.where(within % 16 + 3 < 16, lane + 3, lane))
    np.testing.assert_array_equal(rows[:, 1], np.where(within % 16 >= 3, lane - 3, lane))
    np.testing.assert_array_equal(rows[:, 2], lane ^ 5)
    np.testing.assert_array_equal(rows[:, 3], lane // 32 * 32 + 1)  # lane 33 is lane 1 of the warp
    ballots = [sum(1 << i for i in range(32) if (warp + i) % 3 == 0) for warp in (0, 32)]
    np.testing.assert_array_equal(rows[:, 4].astype("uint32"), np.repeat(ballots, 32))
    np.testing.assert_array_equal(rows[:, 5], np.where(lane < 19, (1 << 19) - 1, 0))
    np.testing.assert_array_equal(rows[:18, 6], lane[:18] + 1)
    np.testing.assert_array_equal(rows[:, 7], 64)
    x, y = LAUNCHES["halves"].arguments[1:]
    expected = x * y + np.maximum(np.exp(x.astype("float32")).astype("float16"), np.float16(0.5)) - x
    np.testing.assert_array_equal(came["halves"].arrays[0], expected)
    np.testing.assert_array_equal(came["vectors"].arrays[0].reshape(64, 4), X.reshape(64, 4)[:, [2, 1, 0, 3]])
    np.testing.assert_array_equal(came["turned"].arrays[0], X[63::-1])


def test_sound_kernels_have_no_findings(checked: dict[str, Any]) -> None:
    for name in ("lanes", "halves", "vectors", "turned", "dropped", "alike"):
        assert checked["came"][name].findings == [], name


def test_recorded_launches_are_run_when_they_are_replayed(plain: dict[str, Any]) -> None:
    assert (plain["came"]["counted"].arrays[0] == 2).all()


INVALID = "CUDA_ERROR_INVALID_VALUE: kernel "
REFUSALS = {
    "large": INVALID + "turned: 61440 bytes of shared memory beside its own 0, allowed: 49152",
    "opted in": "CUDA_SUCCESS",
    "too large": INVALID + "turned asks for 100352 bytes of dynamic shared memory, this GPU has 98304",
    "many threads": INVALID + "counted: 2048 threads a block, allowed: 1024",
    "bounded": INVALID + "lanes: 128 threads a block, its launch bounds allow 64",
    "deep": INVALID + "counted: 65536 blocks in z, allowed: 1 to 65535",
    "hanging": "CUDA_ERROR_LAUNCH_FAILED: kernel hanging: 32 of 64 threads of block (0, 0, 0) wait at a "
    "barrier that the others never reach",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_gpu_does_not_do_is_cudas_own_error(plain: dict[str, Any], name: str) -> None:
    assert plain["came"][name].error == REFUSALS[name]


def test_code_for_another_gpu_does_not_load(plain: dict[str, Any]) -> None:
    assert plain["load"] == "CUDA_SUCCESS"
    assert plain["images"] == [
        "CUDA_ERROR_NO_BINARY_FOR_GPU: the module's code is for sm_87, this GPU is sm_72",
        "CUDA_ERROR_INVALID_PTX: the module holds no machine code",
        "CUDA_ERROR_NO_BINARY_FOR_GPU: the module's code is for a real GPU, this one is emulated",
    ]


def test_memory_that_is_not_there(plain: dict[str, Any]) -> None:
    assert plain["past"] == "CUDA_ERROR_INVALID_VALUE: a copy of 32 bytes writes past the end"
    freed = "CUDA_ERROR_INVALID_VALUE: freed twice, or never allocated"
    assert plain["freed"] == ["CUDA_SUCCESS", freed]


# Kind, what the line has, and what is said of it.
THREAD = r"thread \(\d+, 0, 0\) of block \(0, 0, 0\) "
FAULTS = {
    "no_barrier": ("race", "buffer[63", THREAD + "reads shared array buffer .* has written with no barrier"),
    "unwritten": (
        "unwritten",
        "mine[(",
        THREAD + "reads 4 bytes of register array mine at byte 8 of 16 that",
    ),
    "beyond": ("bounds", "x[threadIdx.x * 2]", r"thread \(50, .* reads 4 bytes at 0 bytes past the end of x"),
    "crooked": (
        "alignment",
        "*(float2*)(x + threadIdx.x + 1)",
        THREAD + "reads 8 bytes at an address that is 4",
    ),
    "outside": ("bounds", "= mine[0] +", THREAD + r"uses index 5 of an array of type 'float \[4\]'"),
    "together": ("race", "out[0] = threadIdx.x", THREAD + "writes global memory where .* another value"),
    "stranger": ("shuffle", "", THREAD + "takes a value of lane 9, which does not take part"),
    "hanging": ("barrier", "", "32 of 64 threads"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found_with_kernel_line_and_thread(checked: dict[str, Any], name: str) -> None:
    kind, statement, text = FAULTS[name]
    found = [finding for finding in checked["came"][name].findings if finding.kind == kind]
    assert {finding.kernel for finding in found} == {name}
    there = [finding for finding in found if statement in ["", *SOURCE.splitlines()][finding.line]]
    assert any(re.match(text, finding.text) for finding in there), found


def test_an_access_beyond_all_memory_ends_the_launch(checked: dict[str, Any]) -> None:
    assert checked["came"]["beyond"].error.startswith(
        "CUDA_ERROR_ILLEGAL_ADDRESS: kernel beyond: thread (50, 0, 0)"
    )


def test_loads_and_stores_are_counted(checked: dict[str, Any]) -> None:
    (turned,) = checked["came"]["turned"].counts.values()
    assert (turned.launches, turned.threads) == (1, 64)
    assert (turned.load_bytes, turned.store_bytes) == (256, 256)
    assert (turned.shared_load_bytes, turned.shared_store_bytes) == (256, 256)
    assert turned.moved_load_bytes == 256
    (vectors,) = checked["came"]["vectors"].counts.values()
    assert vectors.moved_load_bytes == vectors.load_bytes == 1024
