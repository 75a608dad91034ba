"""Files are there whole or not at all, and a failure says what was to be written."""

import os
from pathlib import Path

import pytest

from targets.support.files import FailedWrite, sha256, write_whole


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_whole(path, "ä\n", "the text")
    assert path.read_bytes() == "ä\n".encode()
    write_whole(path, b"\x00", "the bytes")
    assert path.read_bytes() == b"\x00"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]
    assert sha256(path) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"  # sha256sum


def test_a_failure_says_what_and_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "b.txt"
    write_whole(path, "old", "the text")
    (tmp_path / "kept" / "b.txt.partial").mkdir()
    with pytest.raises(
        FailedWrite, match=r"b\.txt: the text cannot be written \(Is a directory\); make room"
    ):
        write_whole(path, "new", "the text")
    assert path.read_text() == "old"


def test_content_is_on_the_disk_before_it_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    write_whole(tmp_path / "b.txt", "new", "the text")
    assert order == ["fsync", "replace", "fsync"]
