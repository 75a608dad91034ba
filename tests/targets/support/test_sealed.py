"""What this program wrote it may write anew, unless somebody has changed it; nothing else."""

from pathlib import Path

import pytest
import yaml

from targets.support.files import InTheWay
from targets.support.sealed import HTML, is_sealed, says, write_sealed


def write(path: Path, text: str) -> None:
    write_sealed({path: text}, "move it away")


def test_our_own_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.yaml"
    for text in ("a: 1\n", "a: 2\n", "a: 2"):
        write(path, text)
        assert is_sealed(path)
        assert yaml.safe_load(path.read_text()) == yaml.safe_load(text)


@pytest.mark.parametrize("change", [b"", b"# mine\n", b"a: 1\n", b"\xff"])
def test_what_a_person_wrote_or_changed_is_named_and_kept(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "b.yaml"
    if change:
        write(path, "a: 1\n")
    path.write_bytes((path.read_bytes() if change else b"") + change)
    before = path.read_bytes()
    with pytest.raises(InTheWay, match=r"b\.yaml: would be overwritten, and .* did not write it so; move it"):
        write(path, "a: 2\n")
    assert path.read_bytes() == before


def test_any_changed_byte_counts(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    write(path, "a: 1\n")
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert not is_sealed(path)


def test_all_or_none_are_written(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("mine: 1\n")
    with pytest.raises(InTheWay, match=r"b\.yaml"):
        write_sealed({tmp_path / "a.yaml": "a: 1\n", tmp_path / "b.yaml": "b: 1\n"}, "move it away")
    assert not (tmp_path / "a.yaml").exists()


def test_what_says_the_same_already_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("a: 1\n")
    assert says(path, "a: 1\n")
    write(path, "a: 1\n")
    assert path.read_text() == "a: 1\n"


def test_a_folder_of_that_name_is_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write(tmp_path, "a: 1\n")


def test_pages_are_sealed_by_a_comment_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    write_sealed({path: "<p>1</p>\n"}, "move it away", HTML)
    assert path.read_text().splitlines()[1].startswith("<!-- written by squeezenas-tvm, sha256 ")
    write_sealed({path: "<p>2</p>\n"}, "move it away", HTML)
    assert path.read_text().startswith("<p>2</p>\n<!-- ")
