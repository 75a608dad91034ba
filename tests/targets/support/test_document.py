"""Kept JSON files: read, refused with the reason, upgraded in memory."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from targets.support.document import Document, DocumentWithFiles
from targets.support.strict_json import NotFinite


class Refused(Exception):
    pass


class Notes(Document):
    WHAT: ClassVar[str] = "a list of notes"
    SCHEMA: ClassVar[int] = 2
    REFUSAL = Refused
    AGAIN: ClassVar[str] = "write it again"

    notes: list[str]

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        if raw["schema_version"] == 1:
            return {"schema_version": 2, "made_by": raw.get("made_by", ""), "notes": [raw["note"]]}
        return raw


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    notes = Notes(schema_version=2, made_by="me", notes=["a", "b"])
    notes.save(tmp_path / "notes.json")
    assert Notes.load(tmp_path / "notes.json") == notes


def test_an_older_one_is_upgraded_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text('{"note": "a"}')
    assert Notes.load(path).notes == ["a"]
    assert path.read_text() == '{"note": "a"}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"schema_version": 3}',
            "schema 3, this program reads 1 to 2; update squeezenas_tvm, or write it again",
        ),
        ('{"schema_version": "2"}', "damaged, schema_version is '2'; write it again"),
        ('{"schema_version": 0}', "damaged, schema_version is 0; write it again"),
        ("[]", "damaged, a list of notes is a JSON object; write it again"),
        ('{"schema_version": 2, "note": []}', "notes: missing; note: unknown key, did you mean notes?"),
        ("{", "damaged, not JSON ("),
        ("[" * 100_000, "damaged, not JSON ("),
    ],
)
def test_others_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(Refused) as caught:
        Notes.load(path)
    assert str(caught.value).startswith(f"{path}: {reason}")


def test_none_there_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="a list of notes cannot be read"):
        Notes.load(tmp_path / "notes.json")
    (tmp_path / "notes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="damaged, no text in UTF-8"):
        Notes.load(tmp_path / "notes.json")


class Album(DocumentWithFiles):
    WHAT: ClassVar[str] = "an album"
    SCHEMA: ClassVar[int] = 1
    REFUSAL = Refused
    AGAIN: ClassVar[str] = "make it again"
    FILE: ClassVar[str] = "album.json"

    title: str


def test_files_beside_a_document_are_those_that_it_was_saved_with(tmp_path: Path) -> None:
    files = {"a.csv": "1,2\n"}
    Album(schema_version=1, title="x", sha256=Album.sums(files)).save_with(tmp_path / "new", files)
    album = Album.load(tmp_path / "new" / Album.FILE)
    assert album.content(tmp_path / "new", "a.csv") == b"1,2\n"
    (tmp_path / "new" / "a.csv").write_text("1,3\n")
    with pytest.raises(Refused, match=r"a\.csv: differs from its checksum in album\.json; make it again"):
        album.content(tmp_path / "new", "a.csv")
    with pytest.raises(Refused, match=r"b\.csv: cannot be read \(No such file or directory\); make it again"):
        album.content(tmp_path / "new", "b.csv")


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    class Weights(Notes):
        weights: dict[str, float]

    with pytest.raises(Refused, match=r"w\.json: damaged, not JSON \(NaN is no finite number\)"):
        Weights.parse('{"schema_version": 2, "notes": [], "weights": {"a": NaN}}', "w.json")


def test_a_document_that_was_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"

    class Summed(Notes):
        SUMMED: ClassVar[bool] = True

    Summed(schema_version=2, made_by="me", notes=["a", "b"]).save(path)
    assert Summed.load(path).notes == ["a", "b"]
    path.write_text(json.dumps(json.loads(path.read_text())))  # spaced otherwise
    Summed.load(path)
    path.write_text(path.read_text().replace('"a"', '"c"'))
    with pytest.raises(
        Refused, match=r"notes\.json: damaged, its content differs from its own checksum; write"
    ):
        Summed.load(path)


def test_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    @dataclass
    class Point:
        x: float

    class Points(Notes):
        points: list[Point]

    with pytest.raises(NotFinite, match=r"points\[0\]\.x is nan"):
        Points(schema_version=2, notes=[], points=[Point(math.nan)]).save(tmp_path / "points.json")
    assert not (tmp_path / "points.json").exists()
