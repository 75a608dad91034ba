"""TVM's own tuning records, as text: the two files of a MetaSchedule ``JSONDatabase``, read without TVM.

A line is ``[structural hash, module]`` of a workload, or ``[number of its workload, [trace, seconds, target,
arguments]]`` of a record. TVM makes modules and traces of them in C++ as it opens them; here modules stay
closed, since the hash tells a workload, and traces are checked before TVM replays them.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezenas_tvm.errors import UsageError
from targets.support.reading import read_bytes
from targets.support.strict_json import parse_json

WORKLOADS, RECORDS = "database_workload.json", "database_tuning_record.json"
_MOST_LINES = 1 << 18  # of a file
_FAILED_S = 1e9  # and more: TVM notes 1e10 s where a schedule did not run
_HASH = re.compile("-?[0-9]{1,20}")


@dataclass(frozen=True)
class TvmRecord:
    """A line of the records: JSON, of which nothing but the number and the samples is checked.

    Attributes:
        workload: number of its workload, from 0.
        samples_s: none where the schedule failed.
        target: without its tag.
    """

    workload: int
    trace: Any
    samples_s: tuple[float, ...]
    target: Any


def read_workloads(folder: Path) -> list[str]:
    """Structural hash of each workload, as ``structural_hash`` tells it of a module.

    Raises UsageError: no such folder or file, one that is too large, or the line that is wrong.
    """
    if missing := [name for name in (WORKLOADS, RECORDS) if not (folder / name).exists()]:
        raise UsageError(f"{folder}: has no {missing[0]}; give the folder of TVM's database, with both files")
    hashes = []
    for where, line in _lines(folder / WORKLOADS):
        match line:
            case [str(told), _] if _HASH.fullmatch(told):
                hashes.append(f"{int(told) % 2**64:016x}")
            case _:
                raise UsageError(f"{where}: allowed is [hash, module]; copy TVM's database again")
    return hashes


def read_records(folder: Path, workloads: int) -> Iterator[TvmRecord]:
    """The records, one by one. Raises UsageError as ``read_workloads``, which told the number of those."""
    for where, line in _lines(folder / RECORDS):
        match line:
            case [int(number), [trace, seconds, target, _]] if 0 <= number < workloads:
                yield TvmRecord(number, trace, _samples_s(seconds), without_tags(target))
            case _:
                raise UsageError(
                    f"{where}: allowed is [number of a workload, [trace, seconds, target, arguments]]; "
                    "copy TVM's database again"
                )


def without_tags(target: Any) -> Any:
    """A TVM target as JSON without the name by which somebody asked for it, nor that of its host."""
    if not isinstance(target, dict):
        return target
    return {name: without_tags(value) for name, value in target.items() if name != "tag"}


def _samples_s(seconds: Any) -> tuple[float, ...]:
    """None of them where one is no latency."""
    values = seconds if isinstance(seconds, list) else []
    sound = all(type(s) in (int, float) and math.isfinite(s) and 0 < s < _FAILED_S for s in values)
    return tuple(map(float, values)) if sound else ()


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    """What each line holds, after the words for where it stands."""
    lines = read_bytes(path, UsageError, what="TVM's records").split(b"\n", _MOST_LINES)
    if len(lines) > _MOST_LINES:
        raise UsageError(f"{path}: more than {_MOST_LINES} lines; leave slow records out")
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            if line.strip():
                yield where, parse_json(line)
        except ValueError as error:
            raise UsageError(f"{where}: no JSON ({error}), for TVM neither; delete that line") from None
