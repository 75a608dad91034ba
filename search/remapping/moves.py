"""What is done to a block that becomes another one, in words, and whether the network computes the same."""

from dataclasses import dataclass

from search.remapping.tensors import embeds
from search.spaces.chain import Position
from search.spaces.inverted_residual import InvertedResidual


@dataclass(frozen=True)
class Place:
    """A block where it stands; None for the skip, which projects where it does not keep the shape."""

    position: Position
    block: InvertedResidual | None

    @property
    def hidden(self) -> int:
        """Channels of its depthwise convolution; of the skip, what it needs as a block."""
        inputs = self.position.in_channels
        if self.block is None:
            return inputs * (2 if self.position.stride > 1 else 1)
        return inputs * (self.block.expansion or 1)


@dataclass(frozen=True)
class Move:
    """One change. ``exact``: the network computes the same after it."""

    words: str
    exact: bool


def moves(old: Place, new: Place) -> list[Move]:
    """From one block to another; none where nothing changes."""
    ends = [
        ("inputs", old.position.in_channels, new.position.in_channels),
        ("outputs", old.position.out_channels, new.position.out_channels),
    ]
    if (old.block is None) != (new.block is None):
        ends += [] if new.block is None else [("hidden", old.hidden, new.hidden)]
        return [_crossing(old, new), *_widths(ends)]
    if old.block is None or new.block is None:
        return _widths(ends)
    ends.insert(1, ("hidden", old.hidden, new.hidden))
    return [*_widths(ends), *_kernels(old.block, new.block), *_groups(old.block, new.block)]


def fits_exactly(old: Place, new: Place) -> bool:
    """Whether nothing is lost."""
    return all(move.exact for move in moves(old, new))


def _widths(counts: list[tuple[str, int, int]]) -> list[Move]:
    return [Move(f"{what} {old}→{new}", new > old) for what, old, new in counts if old != new]


def _kernels(old: InvertedResidual, new: InvertedResidual) -> list[Move]:
    found = []
    exact = embeds(old.kernel, old.dilation, new.kernel, new.dilation)
    if old.kernel != new.kernel:
        found.append(Move(f"kernel {old.kernel}→{new.kernel}", exact))
    if old.dilation != new.dilation:
        found.append(Move(f"dilation {old.dilation}→{new.dilation}", exact))
    return found


def _groups(old: InvertedResidual, new: InvertedResidual) -> list[Move]:
    if old.groups == new.groups:
        return []
    return [Move(f"groups {old.groups}→{new.groups}", new.groups == 1)]


def _crossing(old: Place, new: Place) -> Move:
    """Between a block and the skip that projects."""
    if new.block is None:
        return Move("block multiplied out", exact=False)
    shifted = old.position.stride > 1
    embedded = not shifted or embeds(3, 1, new.block.kernel, new.block.dilation)
    return Move("skip as a block", embedded and new.block.groups == 1)
