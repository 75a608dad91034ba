"""One kernel of every class that the spaces have, small: as it is, and with sides that nothing divides."""

import math
from dataclasses import replace

from cost_models.errors import InvalidGraph
from cost_models.ir.fusion import Kernel
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import SPACES

_SMALL = {32: 8, 64: 10, 128: 18}
_ODD = {4: 5, 7: 9, 8: 7, 15: 13, 16: 13, 32: 9, 64: 9, 128: 17}


def classes() -> dict[str, Kernel]:
    """By the label without its sizes, and ``odd`` for the second form of a class."""
    smallest: dict[str, Kernel] = {}
    for space in SPACES.values():
        for kernel in space_kernels(space, Resolution(64, 128), segmentation_head(19)):
            name = kernel.label.split()[0]
            if name not in smallest or _size(kernel) < _size(smallest[name]):
                smallest[name] = kernel
    found = {}
    for name, kernel in smallest.items():
        found[name] = _with_sides(kernel, _SMALL) or kernel
        if odd := _with_sides(kernel, _ODD):
            found[f"{name}-odd"] = odd
    return found


def _size(kernel: Kernel) -> int:
    return sum(math.prod(shape) for shape in kernel.inputs)


def _with_sides(kernel: Kernel, sides: dict[int, int]) -> Kernel | None:
    """The kernel on maps with other sides; None where it has sizes of its own."""
    moved = tuple(
        (shape[0], *(sides.get(side, side) for side in shape[1:3]), shape[3])
        if shape[3] == 3  # a frame: channels come last
        else (*shape[:2], *(sides.get(side, side) for side in shape[2:]))
        for shape in kernel.inputs
    )
    if moved == kernel.inputs:
        return None
    other = replace(kernel, inputs=moved)
    try:
        return other if math.prod(other.output_shape) else None
    except InvalidGraph:
        return None
