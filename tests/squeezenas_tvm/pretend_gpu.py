"""Libraries that stand for NVIDIA's and pretend a GPU: its memory is the machine's, its kernels do nothing.

What TVM's CUDA runtime and a bundle's runner make of a GPU, and of its failures, is then real on any machine.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

SOURCES = {
    "libcudart.so.13": """
#include <stdlib.h>
#include <string.h>
static int told(const char* name, int otherwise) { char* t = getenv(name); return t ? atoi(t) : otherwise; }
int cudaGetDeviceCount(int* count) { return *count = 1, told("PRETEND_NO_DEVICE", 0); }
int cudaDeviceGetAttribute(int* value, int attribute, int device) {
  int arch = told("PRETEND_ARCH", 72);
  *value = attribute == 75 ? arch / 10 : attribute == 76 ? arch % 10 : 1024;
  return 0;
}
int cudaMalloc(void** pointer, size_t size) { *pointer = calloc(1, size); return told("PRETEND_MALLOC", 0); }
int cudaFree(void* pointer) { free(pointer); return 0; }
int cudaMallocHost(void** pointer, size_t size) { *pointer = calloc(1, size); return 0; }
int cudaFreeHost(void* pointer) { free(pointer); return 0; }
int cudaGetDevice(int* device) { *device = 0; return 0; }
int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
  memmove(to, from, size);
  return 0;
}
const char* cudaGetErrorName(int error) {
  return error == 2 ? "cudaErrorMemoryAllocation" : "cudaErrorNoDevice";
}
const char* cudaGetErrorString(int error) {
  return error == 2 ? "out of memory" : "no CUDA-capable device is detected";
}
""",
    "libcuda.so.1": """
#include <stdlib.h>
int cuModuleLoadData(void** module, const void* code) {
  char* told = getenv("PRETEND_LOAD");
  *module = (void*)1;
  return told ? atoi(told) : 0;
}
int cuModuleGetFunction(void** function, void* module, const char* name) { *function = (void*)1; return 0; }
int cuGetErrorName(int error, const char** name) {
  *name = error == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : error == 200 ? "CUDA_ERROR_INVALID_IMAGE"
        : error == 222 ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" : "CUDA_ERROR_UNKNOWN";
  return 0;
}
int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }
""",
}


def build_pretend_gpu(folder: Path, runtime: Path) -> None:
    """Put the libraries into ``folder``, with every function that TVM's CUDA library ``runtime`` wants."""
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("pretending a GPU needs gcc and binutils")
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", runtime], capture_output=True, text=True, check=True
    )
    wanted = {line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines()}
    for name, source in SOURCES.items():
        start = "cuda" if name.startswith("libcudart") else "cu"
        other = {f for f in wanted if f.startswith("cuda") == (start == "cuda") and f.startswith("cu")}
        _build(folder / name, source + _empty(f for f in other if f"{f}(" not in source))


def _empty(functions: Iterable[str]) -> str:
    return "".join(f"int {name}(void) {{ return 0; }}\n" for name in sorted(functions))


def _build(library: Path, source: str) -> None:
    code, versions = library.with_suffix(".c"), library.with_suffix(".map")
    code.write_text(source, encoding="utf-8")
    versions.write_text(f"{library.name} {{ global: *; }};\n", encoding="utf-8")
    options = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{library.name}"]
    if library.name.startswith("libcudart"):  # NVIDIA's has symbols with versions, its driver has not
        options.append(f"-Wl,--version-script={versions}")
    subprocess.run(["gcc", *options, "-o", library, code], check=True, capture_output=True)
