"""A program that plays TVM: launches kernels on the emulated GPU, as a pickled request on stdin says.

It answers with what came of each, pickled on stdout. It is a process of its own, since libraries in the place
of NVIDIA's must not meet a process that has loaded TVM.
"""

import ctypes
import dataclasses
import pickle
import sys
from typing import Any

import numpy as np

from targets.emulated_cuda import libraries
from targets.emulated_cuda.findings import Counts, Finding, take_counts, take_findings
from targets.toolchain.emulated_compiler import find_emulated_compiler

MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2


@dataclasses.dataclass
class Launch:
    """A kernel of the text, its grid and block, and arrays and numbers in the order it takes them."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: list[Any]
    shared_bytes: int = 0
    asked_shared_bytes: int | None = None
    recorded: bool = False


@dataclasses.dataclass
class Came:
    """The error's text, ``CUDA_SUCCESS`` for none; the arrays afterwards; what checking found."""

    error: str
    arrays: list[Any]
    findings: list[Finding]
    counts: dict[str, Counts]


class Config(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("count", ctypes.c_uint),
    )


class Gpu:
    """The driver's and the runtime's functions."""

    def __init__(self, arch: str) -> None:
        libraries.plug_in(arch)
        self.cuda = ctypes.CDLL(str(libraries.build_libraries() / libraries.RUNTIME))

    def text(self, error: int) -> str:
        text = ctypes.c_char_p()
        self.cuda.cuGetErrorName(error, ctypes.byref(text))
        assert text.value is not None
        return text.value.decode()

    def load(self, image: bytes) -> tuple[ctypes.c_void_p, str]:
        module = ctypes.c_void_p()
        return module, self.text(self.cuda.cuModuleLoadData(ctypes.byref(module), image))

    def upload(self, array: Any) -> ctypes.c_void_p:
        place = ctypes.c_void_p()
        self.cuda.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(array.nbytes))
        self.copy(place, array.ctypes.data, array.nbytes, HOST_TO_DEVICE)
        return place

    def copy(self, to: Any, source: Any, size: int, kind: int) -> str:
        sized = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
        self.cuda.cudaMemcpyAsync.argtypes = sized
        return self.text(self.cuda.cudaMemcpyAsync(to, source, size, kind, None))

    def launch(self, module: ctypes.c_void_p, wanted: Launch) -> Came:
        function = ctypes.c_void_p()
        assert not self.cuda.cuModuleGetFunction(ctypes.byref(function), module, wanted.kernel.encode())
        if wanted.asked_shared_bytes is not None:
            refused = self.cuda.cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED, wanted.asked_shared_bytes)
            if refused:
                return Came(self.text(refused), [], [], {})
        arrays = [value for value in wanted.arguments if isinstance(value, np.ndarray)]
        places = [self.upload(array) for array in arrays]
        left = iter(places)
        values = [
            next(left) if isinstance(value, np.ndarray) else ctypes.c_int(value) for value in wanted.arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        stream = ctypes.c_void_p()
        if wanted.recorded:
            self.cuda.cudaStreamCreate(ctypes.byref(stream))
            assert not self.cuda.cudaStreamBeginCapture(stream, 0)
        config = Config(wanted.grid, wanted.block, wanted.shared_bytes, stream, None, 0)
        error = self.cuda.cuLaunchKernelEx(ctypes.byref(config), function, pointers, None)
        if wanted.recorded:
            error = error or self.replay(stream)
        text = self.text(error)
        for array, place in zip(arrays, places, strict=True):
            self.copy(array.ctypes.data, place, array.nbytes, DEVICE_TO_HOST)
            assert not self.cuda.cudaFree(place)
        return Came(text, arrays, take_findings(), take_counts())

    def replay(self, stream: ctypes.c_void_p) -> int:
        """Twice what was recorded."""
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        assert not self.cuda.cudaStreamEndCapture(stream, ctypes.byref(graph))
        assert not self.cuda.cudaGraphInstantiate(ctypes.byref(ready), graph, ctypes.c_ulonglong(0))
        return int(self.cuda.cudaGraphLaunch(ready, stream) or self.cuda.cudaGraphLaunch(ready, stream))


def main() -> None:
    request = pickle.load(sys.stdin.buffer)
    gpu = Gpu(request["arch"])
    answers: dict[str, Any] = {"came": []}
    code = find_emulated_compiler(request["arch"], checked=request["checked"]).cubin(request["source"])
    module, answers["load"] = gpu.load(code)
    answers["came"] = [gpu.launch(module, wanted) for wanted in request["launches"]]
    other = find_emulated_compiler("sm_87").cubin(request["source"])
    answers["images"] = [gpu.load(image)[1] for image in (other, b"// source", request["cubin"])]
    place = gpu.upload(np.zeros(4, "float32"))
    answers["past"] = gpu.copy(place, np.zeros(8, "float32").ctypes.data, 32, HOST_TO_DEVICE)
    answers["freed"] = [gpu.text(gpu.cuda.cudaFree(place)) for _ in range(2)]
    sys.stdout.buffer.write(pickle.dumps(answers))
