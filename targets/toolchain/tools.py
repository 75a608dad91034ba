"""What building for a target takes on this machine: a linker for its processor, a compiler for its GPU."""

from dataclasses import dataclass

from targets.errors import MissingTool
from targets.spec import Toolchain
from targets.target import Target
from targets.toolchain.cuda_compiler import CudaCompiler, find_cuda_compiler
from targets.toolchain.emulated_compiler import EmulatedCompiler, find_emulated_compiler
from targets.toolchain.linker import Linker, find_linker


@dataclass(frozen=True, slots=True)
class Tools:
    """Picklable, so that they reach build processes.

    Attributes:
        linker: as TVM's ``export_library`` takes it; None is this machine's own.
        cuda: None for a target without a GPU.
    """

    linker: Linker | None = None
    cuda: CudaCompiler | EmulatedCompiler | None = None

    def install(self) -> None:
        """Set this process up to build."""
        if self.cuda is not None:
            self.cuda.install()


def find_tools(target: Target, dtype: str = "float32") -> Tools:
    """The tools for a target.

    Args:
        dtype: that is to be compiled; float16 for a GPU needs CUDA's headers, too.

    Raises:
        MissingTool: one is not here; says how to get it.
        DeviceUnavailable: the target is this machine's GPU, and there is none.
    """
    toolchain = target.toolchain or Toolchain()
    linker = find_linker(toolchain) if toolchain.triple else None
    tvm_target = target.tvm_target()
    if tvm_target.kind.name != "cuda":
        return Tools(linker)
    arch = str(tvm_target.attrs["arch"])
    compiler: CudaCompiler | EmulatedCompiler
    if target.emulated_gpu:
        compiler = find_emulated_compiler(arch)
    else:
        compiler = find_cuda_compiler(arch, toolchain.cuda)
        if dtype == "float16":
            compiler.require_headers()
    if not has_cuda_runtime():
        raise MissingTool(
            "TVM's CUDA runtime does not load here, and without it TVM writes no machine code for GPUs: "
            "there are no CUDA libraries and no C compiler to make stand-ins; "
            "on Debian and Ubuntu: apt install gcc"
        )
    return Tools(linker, compiler)


def has_cuda_runtime() -> bool:
    """Whether TVM could load its CUDA runtime, with NVIDIA's libraries or with stand-ins for them."""
    from targets.tvm_import import tvm

    return tvm.get_global_func("ffi.Module.create.cuda", allow_missing=True) is not None
