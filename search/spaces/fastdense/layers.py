"""The layers of templates: which maps they make of which, one network at a time or all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cost_models.ir.graph import Graph
from search.spaces.fastdense.assembly import Assembly
from search.spaces.fastdense.joins import (
    AGGREGATIONS,
    MAX_POOL,
    STACKED,
    aggregation_graph,
    resize_graph,
    template_operation_graph,
)
from search.spaces.fastdense.operations import POOL, SKIP, conv_graph

LAST = 13  # halvings after which every map of every image is a single pixel
SIDES = ("left", "right")


class Size(NamedTuple):
    """Of a map: channels, and how often its sides are half of the image's, rounded up."""

    channels: int
    level: int

    @property
    def scale(self) -> str:
        """``1/8``."""
        return f"1/{1 << self.level}"


@dataclass(frozen=True)
class Map:
    """A value of a network."""

    value: str
    size: Size


@dataclass(frozen=True)
class Step:
    """A part that some network has: where, which, its layers, and the sizes of their inputs by name."""

    slot: str
    option: str
    graph: Graph
    sizes: tuple[tuple[str, Size], ...]


@dataclass(frozen=True)
class Template:
    """Two operations and how their results are brought together."""

    operations: tuple[str, str]
    aggregation: str


@dataclass(frozen=True)
class Layer:
    """Where a template stands.

    Attributes:
        reads: places in the pool.
        template: which of them all.
        repeats: from 1.
        stride: of each operation in each repeat.
    """

    reads: tuple[int, int]
    template: Template
    repeats: int
    stride: int


@dataclass(frozen=True)
class Rules:
    """Of the layers of a space.

    Attributes:
        separable: how often a separable convolution is done in one operation.
        strided: so many layers, the first, may have a stride. They bring maps to the size of the smaller,
            later ones to that of the larger.
    """

    separable: int
    strided: int


def operated(rules: Rules, operation: str, size: Size, widen: int, stride: int) -> Size:
    """Of what an operation makes."""
    halvings = (stride - 1) * (0 if operation in (POOL, SKIP) else 1)
    if operation not in (POOL, SKIP, MAX_POOL):
        halvings *= rules.separable
    return Size(size.channels * widen, min(size.level + halvings, LAST))


def joined(rules: Rules, layer: int, left: Size, right: Size) -> Size:
    """Of what brings two maps together."""
    choose = max if layer < rules.strided else min
    return Size(max(left.channels, right.channels), choose(left.level, right.level))


def _operation(rules: Rules, slot: str, name: str, size: Size, widen: int, stride: int) -> Step:
    after = operated(rules, name, size, widen, stride)
    graph = template_operation_graph(name, size.channels, after.channels, rules.separable, stride)
    strided = f" stride {stride}" if stride > 1 and name not in (POOL, SKIP) else ""
    option = f"{name}{strided} {size.channels}>{after.channels} at {size.scale}"
    return Step(slot, option, graph, (("x", size),))


def _fit(slot: str, size: Size, channels: int) -> Step:
    option = f"{size.channels}>{channels} at {size.scale}"
    return Step(f"{slot}.fit", option, conv_graph(size.channels, channels), (("x", size),))


def _resize(slot: str, size: Size, to: Size) -> Step:
    option = f"{size.channels} from {size.scale} to {to.scale}"
    return Step(f"{slot}.resize", option, resize_graph(), (("x", size), ("to", to)))


def _aggregation(slot: str, name: str, size: Size, *, twice: bool) -> Step:
    option = f"{name}{' of one map' * twice} {size.channels} at {size.scale}"
    graph = aggregation_graph(name, size.channels, twice=twice)
    return Step(f"{slot}.join", option, graph, tuple((end, size) for end in graph.inputs))


def place(net: Assembly, rules: Rules, index: int, layer: Layer, pool: Sequence[Map]) -> Map:
    """Put a layer into a network; returns what it makes."""
    maps = [pool[read] for read in layer.reads]
    for repeat in range(layer.repeats):
        slot, widen = f"decoder.layers.{index}.{repeat}", 1 if repeat else layer.stride
        ends = []
        for side, name, own in zip(SIDES, layer.template.operations, maps, strict=True):
            if name != SKIP or widen > 1:
                step = _operation(rules, f"{slot}.{side}", name, own.size, widen, layer.stride)
                size = operated(rules, name, own.size, widen, layer.stride)
                own = Map(_add(net, step, own.value), size)
            ends.append(own)
        maps = [maps[1], _join(net, rules, index, slot, layer.template.aggregation, ends)]
    return maps[1]


def _join(net: Assembly, rules: Rules, index: int, slot: str, aggregation: str, ends: list[Map]) -> Map:
    size = joined(rules, index, ends[0].size, ends[1].size)
    for place, (side, own) in enumerate(zip(SIDES, ends, strict=True)):
        if own.size.channels < size.channels:
            value = _add(net, _fit(f"{slot}.{side}", own.size, size.channels), own.value)
            ends[place] = Map(value, own.size._replace(channels=size.channels))
    for place, (side, own) in enumerate(zip(SIDES, list(ends), strict=True)):
        if own.size.level != size.level:
            value = _add(net, _resize(f"{slot}.{side}", own.size, size), own.value, ends[1 - place].value)
            ends[place] = Map(value, size)
    values = [own.value for own in ends]
    twice = aggregation == STACKED and values[0] == values[1]
    step = _aggregation(slot, aggregation, size, twice=twice)
    return Map(_add(net, step, *values[: 2 - twice]), size)


def _add(net: Assembly, step: Step, *inputs: str) -> str:
    return net.add(step.slot, step.option, step.graph, *inputs)


@dataclass
class Reach:
    """Everything that layers may make.

    Attributes:
        steps: parts, each once.
        outputs: sizes of what each layer may make.
    """

    steps: dict[tuple[str, str], Step] = field(default_factory=dict)
    outputs: list[set[Size]] = field(default_factory=list)

    def put(self, step: Step) -> None:
        self.steps.setdefault((step.slot, step.option), step)


def reachable(
    rules: Rules, taps: Sequence[Size], layers: int, repeats: int, operations: Sequence[str]
) -> Reach:
    """Of any layers over these taps; a few more than there are, since sizes are taken as independent."""
    found, pool = Reach(), set(taps)
    for index in range(layers):
        made: set[Size] = set()
        for stride in (1, 2)[: 1 + (index < rules.strided)]:
            maps = [pool, pool]
            for repeat in range(repeats):
                slot, widen = f"decoder.layers.{index}.{repeat}", 1 if repeat else stride
                ends = [
                    _operations(found, rules, f"{slot}.{side}", operations, own, widen, stride)
                    for side, own in zip(SIDES, maps, strict=True)
                ]
                outputs = _joins(found, rules, index, slot, ends)
                made |= outputs
                maps = [maps[1], outputs]
        found.outputs.append(made)
        pool = pool | made
    return found


def _operations(
    found: Reach, rules: Rules, slot: str, names: Sequence[str], sizes: set[Size], widen: int, stride: int
) -> set[Size]:
    ends = set()
    for name in names:
        for size in sorted(sizes):
            ends.add(operated(rules, name, size, widen, stride))
            if name != SKIP or widen > 1:
                found.put(_operation(rules, slot, name, size, widen, stride))
    return ends


def _joins(found: Reach, rules: Rules, index: int, slot: str, ends: list[set[Size]]) -> set[Size]:
    """Sizes of what any two of these are brought together to."""
    made: set[Size] = set()
    needs: tuple[set[tuple[Size, Size]], ...] = (set(), set())
    for left in ends[0]:
        for right in ends[1]:
            size = joined(rules, index, left, right)
            made.add(size)
            needs[0].add((left, size))
            needs[1].add((right, size))
    for side, pairs in zip(SIDES, needs, strict=True):
        for own, size in sorted(pairs):
            if own.channels < size.channels:
                found.put(_fit(f"{slot}.{side}", own, size.channels))
            if own.level != size.level:
                found.put(_resize(f"{slot}.{side}", own._replace(channels=size.channels), size))
    for size in sorted(made):
        for name in AGGREGATIONS:
            found.put(_aggregation(slot, name, size, twice=False))
        found.put(_aggregation(slot, STACKED, size, twice=True))
    return made
