"""``choices.jsonl``: how probable each option of each decision was at the end of every epoch. No PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search.errors import InvalidSearch
from targets.support.reading import read_text
from targets.support.strict_json import json_text, parse_json

FILE = "choices.jsonl"
_DIGITS = 5  # of a probability
_AGAIN = "the search command with --resume writes it again"


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    epoch: Annotated[int, Field(ge=0)]
    choices: list[dict[str, Annotated[float, Field(ge=0, le=1.001)]]]


@dataclass(frozen=True, slots=True)
class EpochChoices:
    """At the end of an epoch, from 0: of each decision, in the space's order, the probability of every option
    that was left."""

    epoch: int
    choices: Sequence[Mapping[str, float]]


def distribution_line(epoch: int, choices: Sequence[Mapping[str, float]]) -> str:
    """A line of the file."""
    rounded = [{name: round(share, _DIGITS) for name, share in own.items()} for own in choices]
    return json_text({"epoch": epoch, "choices": rounded}) + "\n"


def read_distribution(path: Path) -> list[EpochChoices]:
    """Epoch by epoch; nothing where there is no file.

    Raises InvalidSearch: it cannot be read, a line is another document, or lines are of other decisions.
    """
    if not path.exists():
        return []
    told: list[EpochChoices] = []
    for number, line in enumerate(read_text(path, InvalidSearch).splitlines(), 1):
        try:
            found = _Line.model_validate(parse_json(line), strict=True)
        except (ValueError, ValidationError):
            raise InvalidSearch(
                f"{path}, line {number}: not what a search writes of its choices; {_AGAIN}"
            ) from None
        follows = not told or (
            found.epoch == told[-1].epoch + 1 and len(found.choices) == len(told[0].choices)
        )
        if not follows:
            raise InvalidSearch(f"{path}, line {number}: does not follow the line before; {_AGAIN}")
        told.append(EpochChoices(found.epoch, found.choices))
    return told
