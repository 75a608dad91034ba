"""Files are there whole or not at all, and a failure says what was to be written."""

import os
from pathlib import Path

import pytest

from targets.support.files import FailedWrite, InTheWay, refuse_others, sha256, write_whole

from ...faults import room_for


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
    said = r"b\.txt: the text cannot be written \(File too large\); make room"
    with pytest.raises(FailedWrite, match=said), room_for(1):
        write_whole(path, "new", "the text")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    for text in ("old", "new"):
        write_whole(tmp_path / "link", text, "the text")
        assert (tmp_path / "file").read_text() == text
    assert (tmp_path / "link").readlink() == Path("file")


def test_names_as_long_as_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_whole(path, "all", "the text")
    assert path.read_text() == "all"


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.txt" for index in range(8)]
    refuse_others(paths, "move them away")
    paths[2].symlink_to("nowhere")
    with pytest.raises(InTheWay, match=r"2\.txt: there already, and would be overwritten; move them away$"):
        refuse_others(paths, "move them away")
    for path in paths[3:]:
        path.touch()
    with pytest.raises(InTheWay, match=r"2\.txt, .*6\.txt and 1 more: there already"):
        refuse_others(paths, "move them away")


def test_content_is_on_the_disk_before_it_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    write_whole(tmp_path / "b.txt", "new", "the text")
    assert order == ["fsync", "replace", "fsync"]
