"""Schedules on record, for whoever compiles: the fastest one of every kernel, applied."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cost_models.database.history import History
from cost_models.database.store import MeasurementStore
from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel
from cost_models.lowering.pipeline import kernels, lower, structural_hash
from cost_models.onnx_io.exporter import to_onnx
from cost_models.schedules.serialization import apply_schedule


def kernel_module(kernel: Kernel, tvm_target: Any, dtype: str = "float32") -> Any:
    """The kernel as TVM tunes it: an IRModule whose only function is ``main``, not yet scheduled.

    Args:
        dtype: of what it computes with, as for ``to_onnx``.

    Raises:
        InvalidGraph: a piece of a network that was not lowered here.
    """
    if kernel.module:
        if kernel.code is None:
            raise InvalidGraph(f"{kernel.label}: only its network tells what it computes; profile that again")
        return kernel.code
    return _written(kernel, tvm_target, dtype)


@lru_cache(maxsize=64)  # a kernel is scheduled in many ways, one after another
def _written(kernel: Kernel, tvm_target: Any, dtype: str) -> Any:
    lowered = lower(to_onnx(kernel.graph, kernel.input_shapes, name="kernel", dtype=dtype), tvm_target)
    (found,) = kernels(lowered).values()
    return found.mod


def known_modules(path: Path) -> dict[str, Kernel]:
    """Pieces of networks in a store: structural hash -> kernel, without its code; none without a store."""
    if not path.exists():
        return {}
    with MeasurementStore.open(path, create=False) as store:
        described = store.kernels().values()
    return {told["module"]: Kernel.from_description(told) for told in described if "module" in told}


def tuned_modules(history: History, wanted: Sequence[Kernel], tvm_target: Any) -> dict[str, Any]:
    """Schedules worth deploying: structural hash of a kernel's module -> the module with its best schedule.

    Only kernels whose searched or transferred schedule was measured faster than the default one, in this very
    environment; in its dtype.
    """
    modules = {}
    for kernel in wanted:
        trial_id, _ = history.fastest(kernel)
        if trial_id is not None:
            mod = kernel_module(kernel, tvm_target, str(history.fingerprint["dtype"]))
            schedule = history.trials(kernel)[trial_id].schedule
            modules[structural_hash(mod)] = apply_schedule(mod, tvm_target, schedule)
    return modules
