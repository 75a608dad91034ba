"""MobileNetV3 for segmentation (arXiv:1905.02244, tables 1 and 2): one network a space, to compare with.

With the changes of section 6.4: output stride 16 by dilation in the last stage, channels of that stage halved
("reduced tail").
"""

from collections.abc import Sequence

from search.spaces.chain import ChainSpace, Position

# Layers: (block, channels, stride).
_SMALL = (
    *(("k3h16se", 16, 2), ("k3h72", 24, 2), ("k3h88", 24, 1), ("k5h96sehs", 40, 2)),
    *(("k5h240sehs", 40, 1), ("k5h240sehs", 40, 1), ("k5h120sehs", 48, 1), ("k5h144sehs", 48, 1)),
    *(("k5h288d2sehs", 48, 1), ("k5h288d2sehs", 48, 1), ("k5h288d2sehs", 48, 1)),
)
_LARGE = (
    *(("k3h16", 16, 1), ("k3h64", 24, 2), ("k3h72", 24, 1)),
    *(("k5h72se", 40, 2), ("k5h120se", 40, 1), ("k5h120se", 40, 1)),
    *(("k3h240hs", 80, 2), ("k3h200hs", 80, 1), ("k3h184hs", 80, 1), ("k3h184hs", 80, 1)),
    *(("k3h480sehs", 112, 1), ("k3h672sehs", 112, 1)),
    *(("k5h672d2sehs", 80, 1), ("k5h480d2sehs", 80, 1), ("k5h480d2sehs", 80, 1)),
)


def _positions(stem: int, layers: Sequence[tuple[str, int, int]]) -> tuple[Position, ...]:
    inputs = [stem, *(channels for _, channels, _ in layers)]
    return tuple(
        Position(c_in, c_out, stride, (name,))
        for c_in, (name, c_out, stride) in zip(inputs, layers, strict=False)
    )


MOBILENETV3 = (
    ChainSpace(
        name="mobilenetv3-small",
        summary="MobileNetV3-Small for segmentation: one network, for comparison",
        stem=16,
        positions=_positions(16, _SMALL),
        head=288,
        tap=2,
        decoder="lraspp",
        mid_channels=128,
        activation="hswish",
    ),
    ChainSpace(
        name="mobilenetv3-large",
        summary="MobileNetV3-Large for segmentation: one network, for comparison",
        stem=16,
        positions=_positions(16, _LARGE),
        head=480,
        tap=5,
        decoder="lraspp",
        mid_channels=128,
        activation="hswish",
    ),
)
