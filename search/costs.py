"""What a space and its networks cost on a target, from a table of kernels. No device, no TVM."""

import random
from collections import Counter
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


def sample_blocks(space: Space, resolution: Resolution, count: int, seed: int = 0) -> list[Part]:
    """A few different blocks of a space, in order of position: those that ``profile`` also times whole.

    Spread evenly over the positions, and over the candidates as far as that leaves a choice. Identity skips
    are left out; fewer than ``count`` where the space has no more.
    """
    choices = [choice for choice in space.blocks(resolution) if choice[2].graph.nodes]
    random.Random(seed).shuffle(choices)
    used: Counter[tuple[str, int | str]] = Counter()

    def places(choice: tuple[int, str, Part]) -> list[tuple[str, int | str]]:
        """What is best not used twice, most important first; a stretch is neighbouring positions."""
        index, candidate, _ = choice
        stretch = index * count // len(space.positions)
        return [("stretch", stretch), ("position", index), ("candidate", candidate)]

    chosen: list[tuple[int, str, Part]] = []
    while choices and len(chosen) < count:
        best = min(choices, key=lambda choice: [used[place] for place in places(choice)])
        chosen.append(best)
        used.update(places(best))
        part = best[2]
        choices = [c for c in choices if (c[2].graph, c[2].inputs) != (part.graph, part.inputs)]
    return [part for _, _, part in sorted(chosen, key=lambda choice: choice[0])]


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


def network_parts(architecture: Architecture, resolution: Resolution) -> list[Part]:
    """What the deployed network runs, from camera frame to class indices."""
    space = architecture.search_space
    shapes = space.block_inputs(resolution)
    blocks = (
        Part(name, space.block(index, name), {"x": shapes[index]})
        for index, name in enumerate(space.check(architecture.blocks))
    )
    return [*blocks, *space.fixed_parts(resolution, architecture.num_classes)]


def estimate(architecture: Architecture, table: LatencyTable, resolution: Resolution) -> Latency:
    """Latency of the deployed network, from measured kernels alone: the sum of its parts.

    Raises MissingEntry naming the first kernel that the table does not have.
    """
    return Latency.total(
        table.graph(part.graph, part.inputs) for part in network_parts(architecture, resolution)
    )


def network_kernels(architecture: Architecture, resolution: Resolution) -> list[Kernel]:
    """The kernels of the deployed network, in the order they run, equal ones as often as they do."""
    parts = network_parts(architecture, resolution)
    return [kernel for part in parts for kernel in split_into_kernels(part.graph, part.inputs)]
