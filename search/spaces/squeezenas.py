"""The spaces of SqueezeNAS (arXiv:1908.01748, section 3.1), as the authors' code has them."""

from collections.abc import Sequence

from search.spaces.chain import ChainSpace, Position
from search.spaces.inverted_residual import SKIP

# In the order of the authors' code.
SQUEEZENAS_CANDIDATES = (
    *("k3e1", "k3e1g2", "k3e3", "k3e6", "k5e1", "k5e1g2", "k5e3", "k5e6"),
    *("k3e1d2", "k3e1g2d2", "k3e3d2", "k3e6d2", SKIP),
)

# Stages: (channels, blocks, stride of the first).
_SMALL = ((16, 4, 2), (24, 4, 2), (40, 4, 2), (48, 4, 1), (96, 4, 1))
_LARGE = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 1), (160, 1, 1))
_XLARGE = ((24, 1, 1), (32, 4, 2), (48, 4, 2), (96, 4, 2), (144, 4, 1), (240, 4, 1), (320, 1, 1))


def _positions(stem: int, stages: Sequence[tuple[int, int, int]]) -> tuple[Position, ...]:
    positions, channels = [], stem
    for out_channels, count, stride in stages:
        for index in range(count):
            place = Position(channels, out_channels, stride if index == 0 else 1, SQUEEZENAS_CANDIDATES)
            positions.append(place)
            channels = out_channels
    return tuple(positions)


SQUEEZENAS = (
    ChainSpace(
        name="squeezenas-small",
        summary="SqueezeNAS Small: 20 positions, 13 candidates, LR-ASPP",
        stem=16,
        positions=_positions(16, _SMALL),
        head=256,
        tap=7,
        decoder="lraspp",
        mid_channels=128,
    ),
    ChainSpace(
        name="squeezenas-large",
        summary="SqueezeNAS Large: 22 positions, 13 candidates, LR-ASPP",
        stem=16,
        positions=_positions(16, _LARGE),
        tap=8,
        decoder="lraspp",
        mid_channels=128,
    ),
    ChainSpace(
        name="squeezenas-xlarge",
        summary="SqueezeNAS XLarge: 22 positions, 13 candidates, ASPP",
        stem=48,
        positions=_positions(48, _XLARGE),
        tap=4,
        decoder="aspp",
        mid_channels=160,
    ),
)
