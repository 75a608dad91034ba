"""The record of judged networks, one JSON line each, as far as a search went. No PyTorch."""

import json
from collections.abc import Iterable
from pathlib import Path


def read_record(record: Path) -> Iterable[tuple[tuple[str, ...], float]]:
    """Options and score of each, also of records of 0.1; a last line that was cut off is left out."""
    if not record.exists():
        return
    for line in record.read_text(encoding="utf-8").splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if "blocks" in fields:  # 0.1
            fields = {"options": fields["blocks"], "score": fields["miou"]}
        yield tuple(fields["options"]), float(fields["score"])
