"""The streams of a chain: maps of one shape to which residual blocks add, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.spaces.chain import ChainSpace, Position


@dataclass(frozen=True)
class Stream:
    """Maps between which blocks keep the shape.

    Attributes:
        stride: pixels of the image for one of the map, a side.
        entry: position whose block makes it; None for the stem.
        residuals: positions whose blocks add to it.
    """

    channels: int
    stride: int
    entry: int | None
    residuals: tuple[int, ...] = ()

    @property
    def last(self) -> int:
        """The position that it leaves; -1 where the stem alone made it."""
        return self.residuals[-1] if self.residuals else -1 if self.entry is None else self.entry


def keeps_shape(position: Position) -> bool:
    """Whether its blocks add to their input."""
    return position.stride == 1 and position.in_channels == position.out_channels


def streams_of(space: ChainSpace) -> list[Stream]:
    """In order, from the stem's."""
    found = [Stream(space.stem, 2, None)]
    for index, position in enumerate(space.positions):
        now = found[-1]
        if keeps_shape(position):
            more = (*now.residuals, index)
            found[-1] = Stream(now.channels, now.stride, now.entry, more)
        else:
            found.append(Stream(position.out_channels, now.stride * position.stride, index))
    return found


def stream_of(streams: Sequence[Stream], position: int) -> int:
    """Which stream the map behind a position is."""
    return next(i for i, own in enumerate(streams) if position == own.entry or position in own.residuals)


def matched(donor: Sequence[Stream], streams: Sequence[Stream]) -> tuple[int, ...]:
    """For each stream the donor's that it continues: of the same stride, in order, the last for the last.

    Where the donor has none of that stride: of the nearest, finer before coarser.
    """
    found = []
    strides = sorted({own.stride for own in donor})
    for index, own in enumerate(streams):
        stride = min(strides, key=lambda known: (max(known, own.stride) / min(known, own.stride), known))
        there = [place for place, other in enumerate(donor) if other.stride == stride]
        here = [place for place, other in enumerate(streams) if other.stride == own.stride]
        place, last = here.index(index), len(here) - 1
        share = place / last if last else 1.0
        found.append(there[round(share * (len(there) - 1))])
    return tuple(found)
