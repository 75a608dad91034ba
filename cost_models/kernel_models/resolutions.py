"""Which resolutions of the input image a kernel belongs to, told from the kernels of a table alone.

The frame that a network is given stands in every table, as the input of the kernel that normalises it. From
there maps are halved, each side rounded up. Chains of several frames overlap (128x256 is a half of 256x512
and a quarter of 512x1024), so a size alone does not tell; but a layer runs after the same number of halvings
whatever the frame is, and so has a twin in the chain of another frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape

Size = tuple[int, int]  # height, width
_HALVINGS = 6  # networks here stop at 4


class _Layer(NamedTuple):
    """A kernel without its sizes: operations, and the channels of the maps that it reads and writes."""

    steps: str
    channels: tuple[int, ...]


def frame_sizes(kernels: Sequence[Kernel]) -> list[Size]:
    """Height and width of every camera frame that one of the kernels reads, the smallest first."""
    found = {
        (shape[1], shape[2])
        for kernel in kernels
        for name, shape in kernel.input_shapes.items()
        if kernel.graph.dtype(name) == "uint8"
    }
    return sorted(found, key=lambda size: (size[0] * size[1], size))


def frames_of(kernels: Sequence[Kernel]) -> list[frozenset[Size]]:
    """For each kernel, the frames (``frame_sizes``) in whose networks it runs.

    Of the frames whose chains have its size, those at whose depth most other frames have a twin of it; none
    where no chain has its size. Single pixels run in all.
    """
    frames = frame_sizes(kernels)
    places = [_place(kernel) for kernel in kernels]
    known = {(layer, _even(size)) for layer, size in places}
    found = []
    for layer, size in places:
        if size == (1, 1):
            found.append(frozenset(frames))
            continue
        twins = {
            frame: sum((layer, _even(_halved(other, depth))) in known for other in frames if other != frame)
            for frame in frames
            if (depth := _depth(frame, size)) is not None
        }
        found.append(frozenset(frame for frame in twins if twins[frame] == max(twins.values())))
    return found


def _place(kernel: Kernel) -> tuple[_Layer, Size]:
    """Its layer, and the size of the largest map that it reads or writes."""
    shapes = kernel.graph.shapes(kernel.input_shapes)
    maps = [_map(kernel.graph, name, shapes[name]) for name in (*kernel.graph.inputs, *kernel.graph.outputs)]
    steps = kernel.label.partition(" ")[0]
    size = max((size for _, size in maps), key=lambda size: size[0] * size[1])
    return _Layer(steps, tuple(channels for channels, _ in maps)), size


def _map(graph: Graph, name: str, shape: Shape) -> tuple[int, Size]:
    """Channels and size: frames have their channels last, class indices have none."""
    if len(shape) == 3:
        return 1, (shape[1], shape[2])
    if graph.dtype(name) == "uint8":
        return shape[3], (shape[1], shape[2])
    return shape[1], (shape[2], shape[3])


def _depth(frame: Size, size: Size) -> int | None:
    """How often the frame must be halved; a shifted map is one pixel short. None if it never gets there."""
    for depth in range(_HALVINGS + 1):
        halved = _halved(frame, depth)
        if all(0 <= whole - side <= 1 for whole, side in zip(halved, size, strict=True)):
            return depth
    return None


def _halved(size: Size, times: int) -> Size:
    height, width = (-(-side // 2**times) for side in size)
    return height, width


def _even(size: Size) -> Size:
    height, width = (side + side % 2 for side in size)
    return height, width
