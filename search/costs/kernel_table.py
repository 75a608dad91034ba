"""The kernels of a space and of its networks; the table C(position, candidate) of what was measured."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cost_models.database.rows import SampleStatistics
from cost_models.database.table import LatencyTable
from cost_models.errors import MissingEntry
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.kernel_graph import KernelGraph
from search.architecture import Architecture
from search.resolution import Resolution
from search.spaces.camera import camera_network
from search.spaces.chain import ChainSpace
from search.spaces.space import Part


def space_kernels(
    space: ChainSpace, resolution: Resolution, num_classes: int = 19
) -> dict[Kernel, list[str]]:
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


def sample_blocks(space: ChainSpace, resolution: Resolution, count: int, seed: int = 0) -> list[Part]:
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
    """C(i, j): samples of candidate j at position i, and of the parts that every network of the space has.

    An entry is None where a kernel of it could not be measured.
    """

    blocks: tuple[Mapping[str, SampleStatistics | None], ...]
    fixed: Mapping[str, SampleStatistics | None]


def cost_table(
    table: LatencyTable, space: ChainSpace, resolution: Resolution, num_classes: int = 19
) -> CostTable:
    """Compose the table of a space from measured kernels."""
    blocks: list[dict[str, SampleStatistics | None]] = [{} for _ in space.positions]
    for index, candidate, part in space.blocks(resolution):
        blocks[index][candidate] = _measured(table, part)
    fixed = {part.name: _measured(table, part) for part in space.fixed_parts(resolution, num_classes)}
    return CostTable(tuple(blocks), fixed)


def _measured(table: LatencyTable, part: Part) -> SampleStatistics | None:
    try:
        return table.graph(part.graph, part.inputs)
    except MissingEntry:
        return None


def network_graph(architecture: Architecture, resolution: Resolution) -> KernelGraph:
    """The kernels of the deployed network, from camera frame to class indices, with what they wait for.

    They are those of its parts, as costs of blocks are added up: TVM would also fuse the ReLU that a
    projecting skip begins with into the block before it.
    """
    space, network = architecture.search_space, camera_network(architecture.network())
    ends = list(space.stem_graph().outputs)
    for index, name in enumerate(architecture.blocks):
        block = space.block(index, name)
        ends += [f"blocks.{index}.{output}" for output in block.outputs if block.nodes]
    apart = replace(network, outputs=(*network.outputs, *ends))
    return KernelGraph.of(apart, {"frame": (1, *resolution, 3)})


def network_kernels(architecture: Architecture, resolution: Resolution) -> list[Kernel]:
    """The kernels of the deployed network, in the order they run, equal ones as often as they do."""
    return list(network_graph(architecture, resolution).kernels)
