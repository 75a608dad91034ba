"""Import TVM here first: ``from targets.tvm_import import tvm`` sets up the process for it.

``tvm_ffi`` imports PyTorch wherever it is installed (measured: 4.8 s instead of 1.6 s, and 200 MB a process),
though nothing here hands tensors from one to the other. While TVM loads, PyTorch therefore counts as not
installed; it can be imported normally afterwards.

TVM's thread pool takes half of the logical cores on x86 when left alone, hyper-threads or not. It gets the
physical cores that this process may use, unless ``TVM_NUM_THREADS`` says otherwise.

Without NVIDIA's libraries TVM would build modules for CUDA without machine code: see ``cuda_stand_in``.

TVM's loggers tell of what goes as it should, too, such as a design space that MetaSchedule has used up. That
is for ``--verbose``; its errors are told always.
"""

import logging
import os
import sys

from targets.cuda_stand_in import load_cuda_libraries
from targets.local_machine import LocalMachine

load_cuda_libraries()
os.environ.setdefault("TVM_NUM_THREADS", str(LocalMachine.detect().physical_cores))
_torch = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: an import of it fails
try:
    import tvm
    import tvm_ffi
finally:
    if _torch is None:
        del sys.modules["torch"]

_log = logging.getLogger(__name__)


class _Retold(logging.Handler):
    """Tells TVM's records as our own: errors as warnings, all else for who wants to know everything."""

    def emit(self, record: logging.LogRecord) -> None:
        level = logging.WARNING if record.levelno >= logging.ERROR else logging.DEBUG
        _log.log(level, "%s: %s", record.name, record.getMessage())


_theirs = logging.getLogger("tvm")
_theirs.addHandler(_Retold())
_theirs.propagate = False
_theirs.setLevel(logging.WARNING)  # MetaSchedule reports every generation otherwise

__all__ = ["tvm", "tvm_ffi"]
