"""The record of judged networks, one JSON line each, as far as a search went. No PyTorch."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from search.errors import InvalidSearch
from targets.support.reading import read_text
from targets.support.strict_json import parse_json


class _Line(BaseModel):
    options: list[str]
    score: float


def read_record(record: Path) -> Iterable[tuple[tuple[str, ...], float]]:
    """Options and score of each, also of records of 0.1; a last line that was cut off is left out.

    So is any other that is no JSON: its network is judged again.

    Raises InvalidSearch: it cannot be read, or a line is another document.
    """
    if not record.exists():
        return
    for number, line in enumerate(read_text(record, InvalidSearch).splitlines(), 1):
        try:
            fields = parse_json(line)
        except ValueError:
            continue
        if isinstance(fields, dict) and "blocks" in fields:  # 0.1
            fields = {"options": fields["blocks"], "score": fields.get("miou")}
        try:
            told = _Line.model_validate(fields, strict=True)
        except ValidationError:
            raise InvalidSearch(
                f"{record}, line {number}: not the record of judged networks; remove the file, and they are "
                "judged again with --resume"
            ) from None
        yield tuple(told.options), told.score
