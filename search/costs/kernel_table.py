"""The kernels of a space and of its networks; the table C(position, candidate) of what was measured."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cost_models.cost_model import CostModel
from cost_models.database.rows import SampleStatistics
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError, MissingEntry
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.kernel_graph import KernelGraph
from search.architecture import Architecture
from search.resolution import Resolution
from search.spaces.space import Head, Part, SearchSpace, one_hot

_WIDEST = 300  # characters in the head of a table that people read


def space_kernels(space: SearchSpace, resolution: Resolution, head: Head) -> dict[Kernel, list[str]]:
    """Distinct kernels of a space at a resolution, each with the parts that use it.

    In a chain these are ``blocks.<position>.<candidate>`` and the fixed ones: frame, stem, head, decoder,
    classes.
    """
    users: dict[Kernel, list[str]] = {}
    parts = list(space.parts(space.check_resolution(resolution), head))
    for part, kernels in zip(parts, part_kernels(parts), strict=True):
        for kernel in dict.fromkeys(kernels):
            users.setdefault(kernel, []).append(part.name)
    return users


def part_kernels(parts: Sequence[Part]) -> list[list[Kernel]]:
    """Those of each part; parts of one graph at one size have one list, and are cut once."""
    known: dict[object, list[Kernel]] = {}
    found = []
    for part in parts:
        key = id(part.graph), *part.inputs.items()
        if key not in known:
            known[key] = split_into_kernels(part.graph, part.inputs)
        found.append(known[key])
    return found


def sample_blocks(
    space: SearchSpace, resolution: Resolution, head: Head, count: int, seed: int = 0
) -> list[Part]:
    """A few different parts of a space, in its order: those that ``profile`` also times whole.

    Spread evenly over the slots, and over their options as far as that leaves a choice. Parts without layers
    are left out; fewer than ``count`` where the space has no more.
    """
    optional = [part for part in space.parts(resolution, head) if part.slot]
    places_of = {slot: index for index, slot in enumerate(dict.fromkeys(part.slot for part in optional))}
    choices = [part for part in optional if part.graph.nodes]
    random.Random(seed).shuffle(choices)
    used: Counter[tuple[str, int | str]] = Counter()

    def places(part: Part) -> list[tuple[str, int | str]]:
        """What is best not used twice, most important first; a stretch is neighbouring slots."""
        index = places_of[part.slot]
        return [("stretch", index * count // len(places_of)), ("slot", index), ("option", part.option)]

    chosen: list[Part] = []
    while choices and len(chosen) < count:
        best = min(choices, key=lambda part: [used[place] for place in places(part)])
        chosen.append(best)
        used.update(places(best))
        choices = [part for part in choices if (part.graph, part.inputs) != (best.graph, best.inputs)]
    return sorted(chosen, key=lambda part: places_of[part.slot])


@dataclass(frozen=True)
class Extremes:
    """A slot of a table that has too many columns to be shown.

    Attributes:
        options: how many are measured.
        fastest, slowest: their names.
        ends_s: seconds of the fastest, of the middle one, of the slowest.
    """

    slot: str
    options: int
    fastest: str
    slowest: str
    ends_s: tuple[float, float, float]


@dataclass(frozen=True)
class CostTable:
    """C(i, j): samples of option j in slot i, and of the parts that every network of the space has.

    An entry is None where a kernel of it could not be measured.

    Attributes:
        slots: slot -> option -> samples, in the order of the space; in a chain these are its positions.
    """

    slots: Mapping[str, Mapping[str, SampleStatistics | None]]
    fixed: Mapping[str, SampleStatistics | None]

    @property
    def blocks(self) -> list[Mapping[str, SampleStatistics | None]]:
        """One mapping a slot."""
        return list(self.slots.values())

    @property
    def options(self) -> list[str]:
        """Names of all, as columns of a table."""
        return list(dict.fromkeys(name for row in self.blocks for name in row))

    def extremes(self) -> list[Extremes] | None:
        """Slot by slot, where the options are more than people read in a row; else None."""
        if len(" ".join(self.options)) <= _WIDEST:
            return None
        found = []
        for slot, row in self.slots.items():
            known = sorted((entry.median_s, name) for name, entry in row.items() if entry is not None)
            if known:
                (least_s, fastest), (most_s, slowest) = known[0], known[-1]
                ends_s = (least_s, known[len(known) // 2][0], most_s)
                found.append(Extremes(slot, len(known), fastest, slowest, ends_s))
        return found


def cost_table(table: LatencyTable, space: SearchSpace, resolution: Resolution, head: Head) -> CostTable:
    """Compose the table of a space from measured kernels."""
    slots: dict[str, dict[str, SampleStatistics | None]] = {}
    fixed: dict[str, SampleStatistics | None] = {}
    known: dict[object, SampleStatistics | None] = {}  # parts of one graph at one size are alike
    parts = list(space.parts(resolution, head))  # kept, so that no other graph gets the id of one
    for part in parts:
        key = id(part.graph), *part.inputs.items()
        if key not in known:
            known[key] = _measured(table, part)
        if part.slot:
            slots.setdefault(part.slot, {})[part.option] = known[key]
        else:
            fixed[part.name] = known[key]
    return CostTable(slots, fixed)


def _measured(table: LatencyTable, part: Part) -> SampleStatistics | None:
    try:
        return table.graph(part.graph, part.inputs)
    except MissingEntry:
        return None


def network_graph(architecture: Architecture, resolution: Resolution) -> KernelGraph:
    """The kernels of the deployed network, from camera frame to what it gives, with what they wait for.

    They are those of its parts, as their costs are added up: none reaches across ``SearchSpace.borders``.
    """
    space = architecture.search_space
    network = architecture.camera_network()
    borders = space.borders(architecture.genotype)
    apart = replace(network, outputs=(*network.outputs, *borders))
    return KernelGraph.of(apart, {"frame": (1, *space.check_resolution(resolution), 3)})


def priced_graph(model: CostModel, architecture: Architecture, resolution: Resolution) -> KernelGraph:
    """What a cost model is asked of a network: its kernels, or the operations that others have rows of.

    Raises CostModelError: nobody published rows of its space.
    """
    if model.published is None:
        return network_graph(architecture, resolution)
    space = architecture.search_space
    runs = space.marginals(one_hot(space, [architecture.genotype]))
    parts = space.parts(space.check_resolution(resolution), architecture.head)
    running = [part for part in parts if part.name not in runs or runs[part.name][0] > 0]
    return KernelGraph.chain([kernel for own in priced_kernels(model, running) for kernel in own])


def priced_kernels(model: CostModel, parts: Sequence[Part]) -> list[list[Kernel]]:
    """What a cost model is asked of each part, see ``priced_graph``."""
    if model.published is None:
        return part_kernels(parts)
    unknown = next((part for part in parts if part.published is None), None)
    if unknown is not None:
        raise CostModelError(
            f"{unknown.name}: no row in the table of {model.target}, which others measured for networks of "
            "theirs alone; ask another target, or take an architecture of their spaces"
        )
    return [list(part.published or ()) for part in parts]


def network_kernels(architecture: Architecture, resolution: Resolution) -> list[Kernel]:
    """The kernels of the deployed network, in the order they run, equal ones as often as they do."""
    return list(network_graph(architecture, resolution).kernels)
