"""The decoders of FastDenseNAS over any encoder."""

from collections.abc import Callable
from functools import cache

from search.spaces.encoders import USUAL, get_encoder
from search.spaces.fastdense.space import FastdenseSpace
from search.spaces.fastdense.templates import TemplatesSpace

CELLS, TEMPLATES = "fastdense", "fastdense-templates"
_TEMPLATE_TAPS = 2  # that templates take


@cache
def cells_over(encoder: str = USUAL) -> FastdenseSpace:
    """``fastdense``, over an encoder by name. Raises what ``get_encoder`` does."""
    own = get_encoder(encoder)
    taps = len(own.taps)
    return FastdenseSpace(
        name=CELLS if own.name == USUAL else f"{CELLS}@{own.name}",
        summary=f"FastDenseNAS over {own.name.partition(':')[0]}: 3 blocks on {taps} taps, 11 operations",
        encoder=own,
    )


@cache
def templates_over(encoder: str = USUAL) -> TemplatesSpace:
    """``fastdense-templates``, over the first taps of an encoder. Raises what ``get_encoder`` does."""
    own = get_encoder(encoder)
    return TemplatesSpace(
        name=TEMPLATES if own.name == USUAL else f"{TEMPLATES}@{own.name}",
        summary=f"FastDenseNAS over {own.name.partition(':')[0]}: 7 layers of 3 templates of 6 operations",
        encoder=own.first(_TEMPLATE_TAPS),
    )


OVER_ENCODERS: dict[str, Callable[[str], FastdenseSpace | TemplatesSpace]] = {
    CELLS: cells_over,
    TEMPLATES: templates_over,
}
"""Spaces that are there over every encoder: ``NAME@ENCODER``, or ``NAME`` over MobileNetV2."""
