"""Our default schedules for NVIDIA's GPUs, by kind of kernel.

Gates, dense and grouped convolutions, depthwise ones, and kernels that take one sum or none: every kernel of
the spaces. Where none of these rules fits, TVM's own (DLight) are asked.
"""

from collections.abc import Callable
from typing import Any

from cost_models.schedules.conv_template import Conv, read_conv
from cost_models.schedules.gpu import Gpu
from cost_models.schedules.gpu_depthwise import DepthwiseTile, schedule_depthwise
from cost_models.schedules.gpu_gate import schedule_gate
from cost_models.schedules.gpu_matmul import schedule_matmul
from cost_models.schedules.gpu_model import GpuTile, choose_tile
from cost_models.schedules.gpu_rows import schedule_rows


def find_gpu_conv(mod: Any) -> Conv:
    """The convolution of an unscheduled kernel that tiles of a GPU are made for.

    Raises:
        ValueError: the kernel is none, or its result has another shape than the convolution's.
    """
    conv = read_conv(mod)
    if list(conv.params[-1].shape) != list(conv.intermediate.shape):
        raise ValueError("the epilogue has another shape than the convolution")
    return conv


def schedule_tile(conv: Conv, tile: GpuTile) -> Any:
    """The kernel as a PrimFunc, scheduled by the template of its tile, which must fit."""
    return schedule_depthwise(conv, tile) if isinstance(tile, DepthwiseTile) else schedule_matmul(conv, tile)


def _gate(mod: Any, target: Any) -> Any:
    return schedule_gate(read_conv(mod), Gpu.of(target))


def _conv(mod: Any, target: Any) -> Any:
    conv = find_gpu_conv(mod)
    return schedule_tile(conv, choose_tile(conv, Gpu.of(target)))


def _rows(mod: Any, target: Any) -> Any:
    return schedule_rows(mod, Gpu.of(target))


GPU_RULES: dict[str, Callable[[Any, Any], Any]] = {"gate": _gate, "tiles": _conv, "rows": _rows}
"""Name -> PrimFunc of a kernel's IRModule and a tvm Target; the first that raises nothing."""
