"""The kernels of a space and of its networks; the table C(position, candidate) of what was measured."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from cost_models.cost_model import CostModel
from cost_models.database.rows import SampleStatistics
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError
from cost_models.estimate import LatencySource
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
    space: SearchSpace,
    resolution: Resolution,
    head: Head,
    count: int,
    seed: int = 0,
    kernels: Collection[Kernel] | None = None,
) -> list[Part]:
    """A few different parts of a space, in its order: those that ``profile`` also times whole.

    Spread evenly over the slots, and over their options as far as that leaves a choice. Parts without layers
    are left out; fewer than ``count`` where the space has no more.

    Args:
        kernels: those that are measured, of which the parts must be made; all when None.
    """
    optional = [part for part in space.parts(resolution, head) if part.slot]
    if kernels is not None:
        made_of = zip(optional, part_kernels(optional), strict=True)
        optional = [part for part, own in made_of if all(kernel in kernels for kernel in own)]
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
        options: how many are known.
        fastest, slowest: their names.
        ends: the fastest, the middle one, the slowest.
    """

    slot: str
    options: int
    fastest: str
    slowest: str
    ends: tuple[SampleStatistics, SampleStatistics, SampleStatistics]


@dataclass(frozen=True)
class CostTable:
    """C(i, j): samples of option j in slot i, and of the parts that every network of the space has.

    An entry is None where a kernel of it is neither measured nor predicted.

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

    @property
    def predicted(self) -> bool:
        """Whether some entry is not measured alone."""
        entries = (entry for row in (*self.blocks, self.fixed) for entry in row.values())
        return any(entry is not None and entry.predicted for entry in entries)

    def extremes(self) -> list[Extremes] | None:
        """Slot by slot, where the options are more than people read in a row; else None."""
        if len(" ".join(self.options)) <= _WIDEST:
            return None
        found = []
        for slot, row in self.slots.items():
            entries = {name: entry for name, entry in row.items() if entry is not None}
            names = sorted(entries, key=lambda name: (entries[name].median_s, name))
            if names:
                ends = entries[names[0]], entries[names[len(names) // 2]], entries[names[-1]]
                found.append(Extremes(slot, len(names), names[0], names[-1], ends))
        return found


def cost_table(
    table: LatencyTable,
    space: SearchSpace,
    resolution: Resolution,
    head: Head,
    predictor: LatencySource | None = None,
) -> CostTable:
    """Compose the table of a space from measured kernels; ``predictor`` tells the others, if there is one."""
    slots: dict[str, dict[str, SampleStatistics | None]] = {}
    fixed: dict[str, SampleStatistics | None] = {}
    parts = list(space.parts(resolution, head))
    cut = part_kernels(parts)
    known = known_kernels(table, {kernel: None for kernels in cut for kernel in kernels}, predictor)
    for part, kernels in zip(parts, cut, strict=True):
        entries = [known[kernel] for kernel in kernels]
        there = [entry for entry in entries if entry is not None]
        total = SampleStatistics.total(there) if len(there) == len(entries) else None
        if part.slot:
            slots.setdefault(part.slot, {})[part.option] = total
        else:
            fixed[part.name] = total
    return CostTable(slots, fixed)


def known_kernels(
    table: LatencyTable, kernels: Collection[Kernel], predictor: LatencySource | None = None
) -> dict[Kernel, SampleStatistics | None]:
    """Of each, what was measured, else what is predicted, else None."""
    rows = {kernel: table.rows.get(kernel.key) for kernel in kernels}
    missing = [kernel for kernel, row in rows.items() if row is None]
    told = dict(zip(missing, predictor.kernels(missing), strict=True)) if predictor and missing else {}
    found: dict[Kernel, SampleStatistics | None] = {k: row.statistics for k, row in rows.items() if row}
    for kernel in missing:
        estimate = told.get(kernel)
        found[kernel] = None if estimate is None else SampleStatistics.told(estimate)
    return found


def network_graph(architecture: Architecture, resolution: Resolution) -> KernelGraph:
    """The kernels of the deployed network, from camera frame to what it gives, with what they wait for.

    They are those of its parts, as their costs are added up: none reaches across ``SearchSpace.borders``.
    """
    space, network = architecture.search_space, architecture.camera_network()
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
