"""Import TVM here and nowhere else in this package: it keeps the slow part of TVM 0.27 out of every process.

``TuneContext`` and the default builder import ``tvm.s_tir.tensor_intrin``, whose ``__init__`` parses the
tensor intrinsics of every backend through TVMScript: 9 to 70 s. A package object with the same ``__path__``
but an empty body takes its place, and only the intrinsics that float kernels of the target at hand can use are
loaded (x86: 0.2 s). The submodules stay importable by name.
"""

import importlib
import sys
import types
from pathlib import Path

from targets.tvm_import import tvm

_PACKAGE = "tvm.s_tir.tensor_intrin"
_BY_KIND = {"llvm": ("x86",), "cuda": ("cuda",)}


def _replace_package() -> None:
    if _PACKAGE in sys.modules:
        return
    package = types.ModuleType(_PACKAGE, "Submodules are loaded on demand: see cost_models.tvm_import.")
    package.__path__ = [str(Path(tvm.__file__).parent / "s_tir" / "tensor_intrin")]
    sys.modules[_PACKAGE] = package


def load_intrinsics(target: "tvm.target.Target") -> None:
    """Register the tensor intrinsics that schedule rules for ``target`` name. Idempotent."""
    for name in _BY_KIND.get(target.kind.name, ()):
        importlib.import_module(f"{_PACKAGE}.{name}")


_replace_package()

import tvm_ffi  # noqa: E402
from tvm import relax  # noqa: E402
from tvm.s_tir import meta_schedule as ms  # noqa: E402

__all__ = ["load_intrinsics", "ms", "relax", "tvm", "tvm_ffi"]
