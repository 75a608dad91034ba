"""Import TVM here first: ``from targets.tvm_import import tvm`` keeps PyTorch out of the process.

``tvm_ffi`` imports PyTorch wherever it is installed (measured: 4.8 s instead of 1.6 s, and 200 MB a process),
though nothing here hands tensors from one to the other. While TVM loads, PyTorch therefore counts as not
installed; it can be imported normally afterwards.
"""

import sys

if "torch" in sys.modules or "tvm" in sys.modules:
    import tvm
else:
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        import tvm
    finally:
        del sys.modules["torch"]

__all__ = ["tvm"]
