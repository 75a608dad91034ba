"""Import TVM here and nowhere else in this package: it keeps the slow part of TVM 0.27 out of every process.

``TuneContext`` and the default builder import ``tvm.s_tir.tensor_intrin``, whose ``__init__`` parses the
tensor intrinsics of every backend through TVMScript: 9 to 70 s. A package object with the same ``__path__``
but an empty body takes its place: float kernels need none of them. The submodules stay importable by name.
"""

import sys
import types
from pathlib import Path

from targets.tvm_import import tvm

_PACKAGE = "tvm.s_tir.tensor_intrin"


def _replace_package() -> None:
    if _PACKAGE in sys.modules:
        return
    package = types.ModuleType(_PACKAGE, "Submodules are loaded on demand: see cost_models.tvm_import.")
    package.__path__ = [str(Path(tvm.__file__).parent / "s_tir" / "tensor_intrin")]
    sys.modules[_PACKAGE] = package


_replace_package()

import tvm_ffi  # noqa: E402
from tvm import relax  # noqa: E402
from tvm.s_tir import meta_schedule as ms  # noqa: E402

__all__ = ["ms", "relax", "tvm", "tvm_ffi"]
