"""The files of TVM's database, as text: read line by line, or refused in one line."""

import json
from pathlib import Path

import pytest

from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling import tvm_records
from squeezenas_tvm.profiling.tvm_records import RECORDS, WORKLOADS, TvmRecord, read_records, read_workloads

TARGET = {"kind": "cuda", "tag": "a/board", "host": {"kind": "llvm", "tag": ""}}
WORKLOAD = ["-1", "bW9kdWxl"]
RECORD = [0, [[[], []], [1e-3, 2], TARGET, None]]


def database(folder: Path, workloads: list[object], records: list[object]) -> Path:
    for name, lines in ((WORKLOADS, workloads), (RECORDS, records)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def test_what_is_there_is_read(tmp_path: Path) -> None:
    failed = [1, [[[], []], [1e10], TARGET, None]]
    folder = database(tmp_path, [WORKLOAD, ["18446744073709551614", ""]], [RECORD, failed])
    assert read_workloads(folder) == ["f" * 16, "f" * 15 + "e"]
    target = {"kind": "cuda", "host": {"kind": "llvm"}}
    assert list(read_records(folder, 2)) == [
        TvmRecord(0, [[], []], (1e-3, 2.0), target),
        TvmRecord(1, [[], []], (), target),
    ]


@pytest.mark.parametrize("seconds", [None, [], [0], [-1.0], ["1"], [True], [1e-3, 1e10], "1"])
def test_seconds_that_are_no_latency_are_none(seconds: object, tmp_path: Path) -> None:
    folder = database(tmp_path, [WORKLOAD], [[0, [[], seconds, TARGET, None]]])
    assert [record.samples_s for record in read_records(folder, 1)] == [()]


@pytest.mark.parametrize("line", [[], ["1"], [1, ""], ["x", ""], ["1" * 21, ""], {"1": ""}, ["1", "", ""]])
def test_workloads_that_are_none_are_named(line: object, tmp_path: Path) -> None:
    folder = database(tmp_path, [WORKLOAD, line], [RECORD])
    with pytest.raises(UsageError, match=rf"{WORKLOADS}, line 2: allowed is \[hash, module\]; copy TVM's"):
        read_workloads(folder)


@pytest.mark.parametrize("line", [[], [0], [1, RECORD[1]], [-1, RECORD[1]], ["0", RECORD[1]], [0, [1, 2, 3]]])
def test_records_that_are_none_are_named(line: object, tmp_path: Path) -> None:
    folder = database(tmp_path, [WORKLOAD], [RECORD, line])
    with pytest.raises(UsageError, match=rf"{RECORDS}, line 2: allowed is \[number of a workload, \["):
        list(read_records(folder, 1))


@pytest.mark.parametrize("line", [b"[0,", b"\xff", b"[" * 100, b"[0, [[], [NaN], {}, null]]"])
def test_lines_that_are_no_json_are_named(line: bytes, tmp_path: Path) -> None:
    folder = database(tmp_path, [WORKLOAD], [RECORD])
    with (folder / RECORDS).open("ab") as file:
        file.write(line)
    with pytest.raises(UsageError, match=rf"{RECORDS}, line 2: no JSON \(.*\), for TVM neither; delete that"):
        list(read_records(folder, 1))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=rf"none: has no {WORKLOADS}; give the folder of TVM's database, with"
    ):
        read_workloads(tmp_path / "none")
    (tmp_path / WORKLOADS).touch()
    with pytest.raises(UsageError, match=f"has no {RECORDS}; give the folder"):
        read_workloads(tmp_path)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = database(tmp_path, [WORKLOAD], [RECORD] * 5)
    monkeypatch.setattr(tvm_records, "_MOST_LINES", 4)
    assert read_workloads(folder)
    with pytest.raises(UsageError, match=f"{RECORDS}: more than 4 lines; leave slow records out"):
        list(read_records(folder, 1))
    with (folder / WORKLOADS).open("wb") as file:
        file.truncate(1 << 30)  # which takes no room
    with pytest.raises(UsageError, match=f"{WORKLOADS}: larger than 262144 KiB, the most that is read"):
        read_workloads(folder)
