"""A folder is there whole, or what was there before is: after errors, after kills, and with others' files."""

import os
from pathlib import Path

import pytest

from targets.support import folders
from targets.support.folders import whole_folder

from ...faults import kill, run_killed


def write(out: Path, text: str) -> None:
    with whole_folder(out, lambda: None) as folder:
        (folder / "text").write_text(text)


def read(out: Path) -> str:
    return (out / "text").read_text()


@pytest.fixture(params=["exchanged", "in two steps"])
def two_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With, and as if without a system that exchanges folders."""
    if request.param == "in two steps":
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    return str(request.param)


@pytest.mark.usefixtures("two_ways")
def test_one_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "a" / "out", text)
        assert read(tmp_path / "a" / "out") == text
        assert os.listdir(tmp_path / "a") == ["out"]


@pytest.mark.usefixtures("two_ways")
def test_after_an_error_the_old_one_is_there_alone(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out", lambda: None) as folder:
        (folder / "text").write_text(str(1 / 0))
    assert read(tmp_path / "out") == "first"
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    (tmp_path / "link").symlink_to("out")
    write(tmp_path / "link", "second")
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "out") == "second"


def test_the_check_is_asked_before_and_after(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")

    def check() -> None:
        if (tmp_path / "out" / "thesis").exists():
            raise ValueError("in the way")

    with pytest.raises(ValueError, match="in the way"), whole_folder(tmp_path / "out", check):
        (tmp_path / "out" / "thesis").touch()
    with pytest.raises(ValueError, match="in the way"), whole_folder(tmp_path / "out", check):
        pytest.fail("it was asked too late")
    assert read(tmp_path / "out") == "first"


def test_killed_between_any_two_steps_there_is_a_folder(
    tmp_path: Path, two_ways: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def killed(number: int) -> None:
        calls = iter(range(10))

        def counted(source: Path, target: Path) -> None:
            if next(calls) == number:
                kill()
            rename(source, target)

        monkeypatch.setattr(os, "rename", counted)
        write(tmp_path / "out", "second")
        kill()  # done before that

    for number in range(2):
        write(tmp_path / "out", "first")
        run_killed(lambda number=number: killed(number))  # type: ignore[misc]
        if two_ways == "exchanged":
            assert read(tmp_path / "out") == "second"
        with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out", lambda: None):
            raise ZeroDivisionError
        assert read(tmp_path / "out") in ("first", "second")
        assert os.listdir(tmp_path) == ["out"]


def test_folders_are_exchanged_here(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / name).mkdir(parents=True)
    assert folders._exchanged(tmp_path / "one", tmp_path / "other")
    assert os.listdir(tmp_path / "one") == ["other"]
    assert not folders._exchanged(tmp_path / "one", tmp_path / "nowhere")
