"""What a killed process left is cleared; what lives, and what belongs to others, is not."""

import os
from pathlib import Path

import pytest

from targets.support.partial import clear_left, partial_file, partial_folder

from ...faults import kill, run_killed


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def file_left(place: Path) -> None:
    with partial_file(place) as (_, file):
        file.write(b"half")
        kill()


def folder_left(place: Path) -> None:
    with partial_folder(place) as folder:
        (folder / "half").write_text("half")
        kill()


def test_what_is_not_moved_goes_with_its_block(tmp_path: Path) -> None:
    with partial_file(tmp_path / "a") as (path, file), partial_folder(tmp_path / "b") as folder:
        file.write(b"half")
        (folder / "half").write_text("half")
        assert names(tmp_path) == sorted([path.name, folder.name])
        assert folder.stat().st_mode & 0o777 == 0o700
    assert names(tmp_path) == []


def test_a_file_keeps_the_permissions_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with partial_file(tmp_path / "a") as (path, _):
        assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_killed_processes_left_is_cleared(tmp_path: Path) -> None:
    def work() -> None:
        with partial_file(tmp_path / "a"):
            folder_left(tmp_path / "b")

    run_killed(work)
    assert len(names(tmp_path)) == 2
    clear_left(tmp_path)
    assert names(tmp_path) == []


def test_the_next_file_and_the_next_folder_clear_it(tmp_path: Path) -> None:
    for number, partial in enumerate((partial_file, partial_folder)):
        place = tmp_path / str(number)
        place.mkdir()
        run_killed(lambda place=place: folder_left(place / "b"))  # type: ignore[misc]
        with partial(place / "other"):
            assert len(names(place)) == 1


def test_what_lives_is_not_cleared(tmp_path: Path) -> None:
    with partial_file(tmp_path / "a"), partial_folder(tmp_path / "b"):
        before = names(tmp_path)
        clear_left(tmp_path)
        assert names(tmp_path) == before


def test_what_belongs_to_others_is_not_cleared(tmp_path: Path) -> None:
    for name in (".b-0123abcd", "b-0123abcd.squeezenas-tvm", ".b-0123abcd.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".l-0123abcd.squeezenas-tvm").symlink_to("elsewhere")
    own = tmp_path / ".b-0123abcd.squeezenas-tvm"  # nothing in it says that it is ours
    own.mkdir()
    (own / "thesis").touch()
    before = names(tmp_path)
    clear_left(tmp_path)
    assert names(tmp_path) == before
    assert names(own) == ["thesis"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give files away")
def test_what_another_user_made_is_not_cleared(tmp_path: Path) -> None:
    run_killed(lambda: file_left(tmp_path / "a"))
    (left,) = tmp_path.iterdir()
    os.chown(left, 12345, 12345)
    clear_left(tmp_path)
    assert left.exists()


def test_killed_before_its_lock_a_folder_is_empty_and_goes(tmp_path: Path) -> None:
    (tmp_path / ".b-0123abcd.squeezenas-tvm").mkdir()
    clear_left(tmp_path)
    assert names(tmp_path) == []
