"""Latency tables on disk: read back as they were saved, and refused when they are not sound."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.errors import IncompatibleTable
from targets.support.files import FailedWrite

BOARD = {"device": "board", "dtype": "float32", "measure": {"number": 1, "repeat": 5}}
SAMPLES = st.lists(st.floats(1e-7, 10.0), min_size=1, max_size=30).map(tuple)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1)


MACHINE = "a board, 2 cores, 1 GiB, 2024-05-01"
BOARDS = (
    {"name": "10.0.0.7:9090", "done": 3, "failures": 0, "before": {"power_mode": "MAXN"}, "after": None},
)
SAVED = {
    "conv1x1 8x8x8->8x8x8 #1": Row("tuned", 16, (1e-3, 2e-3)),
    "b": Row("default", 0, (0.5,)),
    "c": Row("estimated", 7, estimate_s=0.25, reason='RPCError: "no, never", it said'),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    LatencyTable("board", BOARD, SAVED, MACHINE, BOARDS).save(tmp_path / "table", made_by="a test")
    return tmp_path / "table"


def table_of(**samples_s: tuple[float, ...]) -> LatencyTable:
    return LatencyTable("board", BOARD, {k: Row("default", 0, s) for k, s in samples_s.items()})


def test_saved_table_is_read_back_and_says_how_it_was_made(saved: Path) -> None:
    assert LatencyTable.load(saved) == LatencyTable("board", BOARD, SAVED, MACHINE, BOARDS)
    assert LatencyTable.load(str(saved), target="board").rows == SAVED
    header = json.loads((saved / "table.json").read_text(encoding="utf-8"))
    assert header["made_by"] == "a test"
    assert (header["machine"], header["boards"]) == (MACHINE, list(BOARDS))
    (first, *_) = (saved / "kernels.csv").read_text(encoding="utf-8").splitlines()
    assert first == "kernel,how,trials,samples_s,estimate_s,reason"
    assert sorted(path.name for path in saved.iterdir()) == ["kernels.csv", "table.json"]


def put_rows(folder: Path, rows: bytes, **header: Any) -> None:
    """Replace the rows of a saved table, with the right checksum, and parts of its header."""
    path = folder / "table.json"
    checksum = {"kernels.csv": hashlib.sha256(rows).hexdigest()}
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"sha256": checksum} | header)
    path.write_text(text, encoding="utf-8")
    (folder / "kernels.csv").write_bytes(rows)


def test_tables_of_the_first_schema_are_still_read(saved: Path) -> None:
    put_rows(saved, b"kernel,how,trials,samples_s\na,tuned,1,0.1 0.2\nb,default,0,0.5\n", schema_version=1)
    rows = {"a": Row("tuned", 1, (0.1, 0.2)), "b": Row("default", 0, (0.5,))}
    header = json.loads((saved / "table.json").read_text(encoding="utf-8"))
    for key in ("machine", "boards"):
        del header[key]
    (saved / "table.json").write_text(json.dumps(header), encoding="utf-8")
    assert LatencyTable.load(saved) == LatencyTable("board", BOARD, rows)


@given(st.dictionaries(KEYS, SAMPLES, max_size=5))
def test_any_rows_survive_the_disk(
    tmp_path_factory: pytest.TempPathFactory, samples: dict[str, tuple[float, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    table_of(**samples).save(folder, made_by="a test")
    read = LatencyTable.load(folder)
    assert list(read.rows) == list(samples)
    for key, samples_s in samples.items():
        assert read.rows[key].samples_s == pytest.approx(samples_s, rel=1e-8)


def check_refused(folder: Path, *said: str, **options: Any) -> None:
    with pytest.raises(IncompatibleTable) as caught:
        LatencyTable.load(folder, **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    for words in said:
        assert words in str(caught.value)


def test_table_of_another_target_is_refused(saved: Path) -> None:
    check_refused(
        saved,
        f"{saved}: is a table of board, not of other; give --table the folder of a profile of other, or make",
        target="other",
    )


@pytest.mark.parametrize("name", ["kernels.csv", "table.json"])
def test_missing_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    check_refused(
        saved, f"{name}: ", "cannot be read (No such file or directory)", "profile again into the same"
    )


def test_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        check_refused(
            folder, f"{folder}/table.json: a latency table cannot be read (No such file or directory)"
        )


def test_one_changed_digit_is_noticed(saved: Path) -> None:
    text = (saved / "kernels.csv").read_text(encoding="utf-8")
    (saved / "kernels.csv").write_text(text.replace("0.002", "0.003"), encoding="utf-8")
    check_refused(saved, "kernels.csv: differs from its checksum in table.json; profile again into the same")


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{", '"x"', "{}", '{"schema_version": 1}', '{"schema_version": 1, "target": 7}']
)
def test_damaged_header_is_refused(saved: Path, text: str) -> None:
    (saved / "table.json").write_text(text, encoding="utf-8")
    check_refused(saved, "table.json: ", "profile again into the same folder")


def test_bytes_that_are_no_text_are_refused(saved: Path) -> None:
    (saved / "table.json").write_bytes(b"\xff\xfe\x00")
    check_refused(saved, "table.json: damaged, no text in UTF-8 (byte 0); profile again into the same folder")


def test_newer_schema_is_named_whatever_else_it_holds(saved: Path) -> None:
    (saved / "table.json").write_text('{"schema_version": 4, "goal": "board"}', encoding="utf-8")
    check_refused(
        saved, "table.json: schema 4, this program reads 1 to 3; update squeezenas_tvm, or profile again"
    )


HEAD = "kernel,how,trials,samples_s,estimate_s,reason\n"


@pytest.mark.parametrize(
    "rows",
    [
        b"",
        b"kernel,how,trials\na,tuned,1\n",
        b"kernel,how,trials,samples_s\na,tuned,1,0.1\n",
        b"\xff\xfe",
    ],
    ids=["nothing", "a column less", "of the first schema", "no text"],
)
def test_files_of_other_columns_are_refused_though_their_sum_is_right(saved: Path, rows: bytes) -> None:
    put_rows(saved, rows)
    check_refused(
        saved, f"kernels.csv: not the rows of a table ({HEAD.strip().replace(',', ', ')}); profile again"
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,tuned,many,0.1,,", "row 2, 'a': invalid literal for int() with base 10: 'many'"),
        ("a,tuned,1,0.1 fast,,", "row 2, 'a': could not convert string to float: 'fast'"),
        ("a,tuned,1,0.1 nan,,", "row 2, 'a': latencies must be finite and > 0 s, found (0.1, nan)"),
        ("a,tuned,1,-0.1,,", "row 2, 'a': latencies must be finite and > 0 s, found (-0.1,)"),
        ("a,tuned,1,0 0.1,,", "row 2, 'a': latencies must be finite and > 0 s, found (0.0, 0.1)"),
        ("a,tuned,1,inf,,", "row 2, 'a': latencies must be finite and > 0 s, found (inf,)"),
        ("a,tuned,1,,,", "row 2, 'a': latencies must be finite and > 0 s, found ()"),
        ("a,best,1,0.1,,", "row 2, 'a': how must be one of default, "),
        ("a,estimated,1,,,it broke", "row 2, 'a': latencies must be finite and > 0 s, found ()"),
        ("a,estimated,1,,nan,it broke", "row 2, 'a': latencies must be finite and > 0 s, found (nan,)"),
        ("a,estimated,1,,-1,it broke", "row 2, 'a': latencies must be finite and > 0 s, found (-1.0,)"),
        ("a,tuned", "row 2, 'a': 6 cells expected and a kernel in the first, found 2"),
        (",tuned,1,0.1,,", "row 2, '': 6 cells expected and a kernel in the first, found 6"),
        ("", "row 2: 6 cells expected and a kernel in the first, found 0"),
        ("b,tuned,1,0.1,,", "row 2, 'b': the kernel has a row already, allowed is one each"),
    ],
    ids=lambda value: value.partition(":")[0] if " " in value else value,
)
def test_a_row_that_is_none_is_named_though_the_sum_is_right(saved: Path, row: str, said: str) -> None:
    put_rows(saved, f"{HEAD}b,default,0,0.5,,\n{row}\n".encode())
    check_refused(saved, f"{saved / 'kernels.csv'}: {said}", "profile again into the same folder")


def test_place_that_cannot_be_written_is_named(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedWrite, match=r"file/kernels\.csv: a latency table cannot be written \("):
        LatencyTable.load(saved).save(tmp_path / "file", made_by="a test")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KiB; skips where that is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_kib: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a small file system needs root")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_full_disk_keeps_the_table_that_was_there(saved: Path, full_disk: Callable[[int], Path]) -> None:
    folder = full_disk(64) / "table"
    old = LatencyTable.load(saved)
    old.save(folder, made_by="a test")
    large = table_of(**{f"kernel {n}": (0.123456789,) * 20 for n in range(1000)})
    with pytest.raises(FailedWrite, match=r"kernels\.csv: .* cannot be written \(No space left on device\)"):
        large.save(folder, made_by="a test")
    assert LatencyTable.load(folder) == old
    assert sorted(path.name for path in folder.iterdir()) == ["kernels.csv", "table.json"]
