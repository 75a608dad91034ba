"""The decoders of FastDenseNAS over any encoder."""

from functools import cache

from search.spaces.encoders import USUAL, get_encoder
from search.spaces.fastdense.space import FastdenseSpace

CELLS = "fastdense"


@cache
def cells_over(encoder: str = USUAL) -> FastdenseSpace:
    """``fastdense``, over an encoder by name. Raises what ``get_encoder`` does."""
    own = get_encoder(encoder)
    taps = len(own.taps)
    return FastdenseSpace(
        name=CELLS if own.name == USUAL else f"{CELLS}@{own.name}",
        summary=f"FastDenseNAS over {own.name.partition(':')[0]}: 3 blocks on {taps} taps, one cell of 11 operations",
        encoder=own,
    )


OVER_ENCODERS = {CELLS: cells_over}
"""Spaces that are there over every encoder: ``NAME@ENCODER``, or ``NAME`` over MobileNetV2."""
