"""What comes from where: the blocks of a donor for those of a network, or for all candidates of a supernet.

A stage continues the donor's of the same stride, in order. Within it blocks that add to their input are
matched in their order, since skips between them change nothing; in a supernet position by position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from search.architecture import Architecture
from search.remapping.blocks import parsed
from search.remapping.classes import ClassMatch
from search.remapping.donor import Donor
from search.remapping.moves import Place, fits_exactly
from search.remapping.streams import Stream, keeps_shape, matched, stream_of, streams_of
from search.spaces.chain import ChainSpace
from search.spaces.inverted_residual import SKIP
from search.spaces.space import Genotype

How = Literal["taken", "closed", "passing", "skip", "new"]
"""A block's weights: those of the donor's block, fitted; such a block that begins by adding nothing; one that
passes its input on, where the donor has no block; none, of a skip that adds nothing; or fresh ones."""


@dataclass(frozen=True)
class BlockPlan:
    """Where the weights of a block are from.

    Attributes:
        block: what stands at position ``index``; ``source`` is the donor's position, ``of`` its block.
    """

    index: int
    block: str
    how: How
    source: int | None = None
    of: str | None = None


@dataclass(frozen=True)
class Plan:
    """From a donor into a network of ``space``, or into its supernet.

    Attributes:
        streams: for each stream of the space the donor's.
        blocks: of a network one a position, of a supernet one a candidate.
        dropped: the donor's positions whose blocks are not used.
        headless: whether the donor is an encoder alone.
        supernet: whether it is of one, whose tensors have the candidate in their names.
    """

    donor: Architecture
    space: ChainSpace
    streams: tuple[int, ...]
    blocks: tuple[BlockPlan, ...]
    dropped: tuple[int, ...]
    classes: ClassMatch
    headless: bool = False
    supernet: bool = False

    @property
    def donor_space(self) -> ChainSpace:
        """The donor's."""
        space = self.donor.search_space
        assert isinstance(space, ChainSpace)
        return space

    @property
    def stem(self) -> bool:
        """Whether the stem is the donor's."""
        return self.streams[0] == 0

    @property
    def last(self) -> bool:
        """Whether the last stream continues the donor's last."""
        return self.streams[-1] == len(streams_of(self.donor_space)) - 1

    @property
    def head(self) -> bool:
        """Whether the convolution before the decoder is the donor's, or stands for what it has there."""
        donor, space = self.donor_space, self.space
        return self.last and space.head is not None and (self.decoder or donor.head is not None)

    @property
    def decoder(self) -> bool:
        """Whether the decoder is the donor's: of the same kind, behind the same stream."""
        donor, space = self.donor_space, self.space
        if self.headless or donor.decoder != space.decoder or not self.last:
            return False
        if space.decoder == "lraspp":
            return True
        widths = [(s.head, s.positions[-1].out_channels, s.mid_channels) for s in (donor, space)]
        lows = [s.positions[s.tap].out_channels for s in (donor, space)]
        return widths[0] == widths[1] and lows[0] == lows[1]

    @property
    def low(self) -> bool:
        """Whether the decoder's fine map is the donor's."""
        own = stream_of(streams_of(self.space), self.space.tap)
        return self.streams[own] == stream_of(streams_of(self.donor_space), self.donor_space.tap)


def plan_network(donor: Donor, space: ChainSpace, genotype: Genotype, classes: ClassMatch) -> Plan:
    """For one network."""
    making = _Making(donor, space)
    return making.plan(making.network_blocks(space.short_form(genotype)), classes)


def plan_supernet(donor: Donor, space: ChainSpace, classes: ClassMatch) -> Plan:
    """For every candidate of each position."""
    making = _Making(donor, space)
    return making.plan(making.supernet_blocks(), classes, supernet=True)


class _Making:
    def __init__(self, donor: Donor, space: ChainSpace) -> None:
        donor_space = donor.architecture.search_space
        assert isinstance(donor_space, ChainSpace)
        self._donor, self._space, self._donor_space = donor, space, donor_space
        self._of = donor_space.short_form(donor.architecture.genotype)
        self._old, self._new = streams_of(donor_space), streams_of(space)
        self._streams = matched(self._old, self._new)

    def plan(self, blocks: Sequence[BlockPlan], classes: ClassMatch, *, supernet: bool = False) -> Plan:
        used = {block.source for block in blocks if block.how == "taken"}
        idle = {
            index
            for index, position in enumerate(self._donor_space.positions)
            if self._of[index] == SKIP and keeps_shape(position)
        }
        dropped = tuple(index for index in range(len(self._of)) if index not in used | idle)
        return Plan(
            donor=self._donor.architecture,
            space=self._space,
            streams=self._streams,
            blocks=tuple(blocks),
            dropped=dropped,
            classes=classes,
            headless=self._donor.headless,
            supernet=supernet,
        )

    def network_blocks(self, blocks: Sequence[str]) -> list[BlockPlan]:
        found: dict[int, BlockPlan] = {}
        for own, stream in enumerate(self._new):
            if stream.entry is not None:
                found[stream.entry] = self._entry(own, stream.entry, blocks[stream.entry])
            old = self._old[self._streams[own]]
            pairs = self._aligned(old, stream, blocks)
            for index in stream.residuals:
                found[index] = self._residual(stream, old, index, blocks[index], pairs.get(index))
        return [found[index] for index in sorted(found)]

    def supernet_blocks(self) -> list[BlockPlan]:
        found: list[BlockPlan] = []
        for own, stream in enumerate(self._new):
            if stream.entry is not None:
                names = self._space.positions[stream.entry].candidates
                found += [self._entry(own, stream.entry, block) for block in names]
            old = self._old[self._streams[own]]
            for place, index in enumerate(stream.residuals):
                there = old.residuals[place] if place < len(old.residuals) else None
                source = None if there is None or self._of[there] == SKIP else there
                names = self._space.positions[index].candidates
                found += [self._residual(stream, old, index, block, source) for block in names]
        return sorted(found, key=lambda block: block.index)

    def _entry(self, own: int, index: int, block: str) -> BlockPlan:
        """Of a block that makes a stream."""
        there, before = self._streams[own], self._streams[own - 1]
        source = self._old[there].entry
        if source is not None and before == there - 1:
            return BlockPlan(index, block, "taken", source, self._of[source])
        return BlockPlan(index, block, "passing" if before == there else "new")

    def _residual(self, stream: Stream, old: Stream, index: int, block: str, source: int | None) -> BlockPlan:
        """Of a block that adds to a stream: ``source`` is the donor's that it continues, if any."""
        if block == SKIP:
            return BlockPlan(index, block, "skip", source, None if source is None else self._of[source])
        if source is not None:
            return BlockPlan(index, block, "taken", source, self._of[source])
        near = [i for i in old.residuals if self._of[i] != SKIP]
        if not near:
            return BlockPlan(index, block, "closed")
        place = stream.residuals.index(index)
        nearest = min(near, key=lambda i: abs(old.residuals.index(i) - place))
        return BlockPlan(index, block, "closed", nearest, self._of[nearest])

    def _aligned(self, old: Stream, stream: Stream, blocks: Sequence[str]) -> dict[int, int]:
        """Position -> the donor's, in order: as many as both have, those that lose and move the least."""
        before = [i for i in old.residuals if self._of[i] != SKIP]
        after = [i for i in stream.residuals if blocks[i] != SKIP]

        def cost(source: int, index: int) -> tuple[int, int]:
            moved = abs(old.residuals.index(source) - stream.residuals.index(index))
            return int(not self._exact(source, index, blocks[index])), moved

        pairs = {(source, index): cost(source, index) for source in before for index in after}
        if len(before) <= len(after):
            return {index: source for source, index in in_order(before, after, pairs)}
        turned = {(index, source): cost for (source, index), cost in pairs.items()}
        return dict(in_order(after, before, turned))

    def _exact(self, source: int, index: int, block: str) -> bool:
        one, other = self._donor_space.positions[source], self._space.positions[index]
        return fits_exactly(Place(one, parsed(self._of[source])), Place(other, parsed(block)))


def in_order(
    fewer: Sequence[int], more: Sequence[int], costs: Mapping[tuple[int, int], tuple[int, int]]
) -> list[tuple[int, int]]:
    """One of ``more`` for each of ``fewer``, in the same order, at the least cost in all, which are compared
    as tuples are."""
    best: list[tuple[tuple[int, int], list[tuple[int, int]]]] = [((0, 0), [])] * (len(more) + 1)
    for done, one in enumerate(fewer):
        now = best[: done + 1]  # what comes before has no place for it: never read
        for place in range(done, len(more)):
            (lost, moved), pairs = best[place]
            own = costs[one, more[place]]
            with_it = ((lost + own[0], moved + own[1]), [*pairs, (one, more[place])])
            now.append(min(now[-1], with_it, key=lambda found: found[0]) if place > done else with_it)
        best = now
    return best[-1][1]
