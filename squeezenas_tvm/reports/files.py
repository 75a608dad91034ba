"""Reading what other commands wrote: a fault is one line that names file, line and the way out."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezenas_tvm.errors import UsageError
from targets.support.reading import read_text
from targets.support.strict_json import parse_json


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A line of a CSV file: its columns of text and of numbers."""

    texts: dict[str, str]
    numbers: dict[str, float]


def read_csv(
    path: Path, numbers: Sequence[str], texts: Sequence[str] = (), *, optional: Sequence[str] = (), again: str
) -> list[CsvRow]:
    """Its rows; columns that are not asked for are not looked at.

    Args:
        numbers, texts: columns that must be there.
        optional: those of ``numbers`` that may be empty, which gives nan.
        again: how the file is made anew, for errors.

    Raises:
        UsageError: no such file, a missing column, a line of another length, or what is no number.
    """
    reader = csv.reader(_text(path, again).splitlines(), strict=True)
    rows: list[CsvRow] = []
    try:
        names = next(reader, [])
        if missing := [name for name in (*numbers, *texts) if name not in names]:
            raise ValueError(f"no column {missing[0]}")
        for cells in reader:
            if len(cells) != len(names):
                raise ValueError(f"{len(cells)} cells, the header has {len(names)}")
            line = dict(zip(names, cells, strict=True))
            values = {name: _number(name, line[name], name in optional) for name in numbers}
            rows.append(CsvRow({name: line[name] for name in texts}, values))
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path}, line {max(reader.line_num, 1)}: {error}; {again}") from None
    return rows


def header(path: Path) -> list[str]:
    """Names of the columns of a CSV file; none where it cannot be read, which ``read_csv`` then tells."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def read_json(path: Path, schema: int, again: str) -> dict[str, Any]:
    """A mapping with the ``schema_version`` 1 to ``schema``; 1 is that of files without one.

    Raises:
        UsageError: no such file, no JSON, another kind of document, or a newer schema.
    """
    try:
        document = parse_json(_text(path, again))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: not JSON ({error.msg}); {again}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); {again}") from None
    version = document.get("schema_version", 1) if isinstance(document, dict) else None
    if type(version) is not int:
        raise UsageError(f"{path}: not a JSON object with a schema_version; {again}")
    if version > schema:
        raise UsageError(f"{path}: schema {version}, this program reads 1 to {schema}; update it")
    return dict(document)


def _text(path: Path, again: str) -> str:
    return read_text(path, lambda said: UsageError(f"{said}; {again}"))


def _number(name: str, cell: str, optional: bool) -> float:
    if optional and not cell:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{name} is {cell!r}, where a number is expected")
    return value
