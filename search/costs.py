"""What a space and its networks cost on a target, from a table of kernels. No device, no TVM."""

from collections.abc import Mapping
from dataclasses import dataclass

from cost_models.errors import MissingEntry
from cost_models.kernels import Kernel, split_into_kernels
from cost_models.table import Latency, LatencyTable
from search.architecture import Architecture
from search.resolution import Resolution
from search.spaces import Part, Space


def space_kernels(space: Space, resolution: Resolution, num_classes: int = 19) -> dict[Kernel, list[str]]:
    """Distinct kernels of a space at a resolution, each with the parts that use it.

    Parts are ``blocks.<position>.<candidate>`` and the fixed ones: frame, stem, head, decoder, classes.
    """
    parts = [part for _, _, part in space.blocks(resolution)]
    parts += space.fixed_parts(resolution, num_classes)
    users: dict[Kernel, list[str]] = {}
    for part in parts:
        for kernel in dict.fromkeys(split_into_kernels(part.graph, part.inputs)):
            users.setdefault(kernel, []).append(part.name)
    return users


@dataclass(frozen=True)
class CostTable:
    """C(i, j): latency of candidate j at position i, and of the parts that every network of the space has.

    An entry is None where a kernel of it could not be measured.
    """

    blocks: tuple[Mapping[str, Latency | None], ...]
    fixed: Mapping[str, Latency | None]


def cost_table(table: LatencyTable, space: Space, resolution: Resolution, num_classes: int = 19) -> CostTable:
    """Compose the table of a space from measured kernels."""
    blocks: list[dict[str, Latency | None]] = [{} for _ in space.positions]
    for index, candidate, part in space.blocks(resolution):
        blocks[index][candidate] = _measured(table, part)
    fixed = {part.name: _measured(table, part) for part in space.fixed_parts(resolution, num_classes)}
    return CostTable(tuple(blocks), fixed)


def _measured(table: LatencyTable, part: Part) -> Latency | None:
    try:
        return table.graph(part.graph, part.inputs)
    except MissingEntry:
        return None


def estimate(architecture: Architecture, table: LatencyTable, resolution: Resolution) -> Latency:
    """Latency of the deployed network, from camera frame to class indices: the sum of its parts.

    Raises MissingEntry naming the first kernel that the table does not have.
    """
    space = architecture.search_space
    shapes = space.block_inputs(resolution)
    blocks = (
        Part(name, space.block(index, name), {"x": shapes[index]})
        for index, name in enumerate(space.check(architecture.blocks))
    )
    fixed = space.fixed_parts(resolution, architecture.num_classes)
    return Latency.total(table.graph(part.graph, part.inputs) for part in (*blocks, *fixed))
