"""The process behind `emulated_check`: builds the kernels that come down its pipe, and runs them checked."""

import ctypes
import pickle
import re
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from cost_models.runner.emulated_check import CheckedRun, KernelRun

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run with the pipe's descriptor and the architecture that its environment has plugged in."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    pipe, arch = Connection(int(sys.argv[1])), sys.argv[2]
    from targets.emulated_cuda.findings import check_at_most, take_counts, take_findings
    from targets.support.text import brief
    from targets.toolchain.emulated_compiler import find_emulated_compiler

    compiler = find_emulated_compiler(arch, checked=True)
    texts: list[str] = []
    compiler.install(seen=texts.append)
    while True:
        try:
            run: KernelRun = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        texts.clear()
        arrays, error = run.arrays, None
        check_at_most(run.most_blocks)
        try:
            arrays = _run(run, arch)
        except Exception as raised:  # TVM raises what it likes
            said = re.search(r"CUDA_ERROR_[^\n]*", str(raised))  # before pages of source text
            error = f"kernel {run.name}: {said[0] if said else brief(raised)}"
        findings, counts = tuple(take_findings()), take_counts()
        pipe.send(CheckedRun(arrays, findings, counts, "\n".join(texts), error))


def _run(run: KernelRun, arch: str) -> tuple[Any, ...]:
    """The arrays as the kernel leaves them."""
    from cost_models.schedules.sblocks import require_threads
    from cost_models.tvm_import import tvm
    from targets.target import load_target

    known = load_target("emulated-cuda")
    target = known.model_copy(update={"tvm": {**known.tvm, "arch": arch}}).tvm_target()
    require_threads(run.mod, target, run.name)
    module = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(run.mod)
    executable = tvm.compile(module, target)
    device = tvm.cuda(0)
    tensors = [tvm.runtime.tensor(array, device) for array in run.arrays]
    executable["main"](*tensors)
    device.sync()
    return tuple(tensor.numpy() for tensor in tensors)


if __name__ == "__main__":
    main()
