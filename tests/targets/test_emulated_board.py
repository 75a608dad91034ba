"""The folder of the emulated board: made once and wholly or not at all, and what is found in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from targets import BoardNotBuilt, MissingTool
from targets.emulated_board import build, default_folder, environment, find_qemu, is_built

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The board's folder, where it can be had."""
    try:
        build(default_folder())
    except (MissingTool, BoardNotBuilt) as error:
        pytest.skip(f"no emulated board: {error}")
    return default_folder()


def test_what_is_built_is_kept(folder: Path) -> None:
    assert is_built(folder)
    before = folder.stat().st_ino
    build(folder)
    assert folder.stat().st_ino == before


def test_without_qemu_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool) as missing:
        build(tmp_path / "board")
    assert str(missing.value) == (
        "no qemu-aarch64 on this machine; on Debian and Ubuntu: apt install qemu-user-static"
    )
    assert missing.value.exit_code == 2


def test_without_apt_it_says_that_a_debian_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "qemu-aarch64-static").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_qemu() == str(tmp_path / "qemu-aarch64-static")
    with pytest.raises(MissingTool, match="no apt-get on this machine; the emulated board can be built on a"):
        build(tmp_path / "board")


def test_a_half_built_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "contents").write_text("apache-tvm==0.1")
    assert not is_built(tmp_path)


def test_packages_of_here_are_found_there_and_nothing_beside_them(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    alone, site = environment(tmp_path)["PYTHONPATH"].split(os.pathsep)
    assert (alone, site) == (str(ours), str(tmp_path / "site"))
    assert {link.name: link.resolve() for link in ours.iterdir()} == {"targets": ROOT / "targets"}
    environment(tmp_path, [ROOT / "targets", ROOT / "search"])
    assert sorted(link.name for link in ours.iterdir()) == ["search", "targets"]
    ours.joinpath("search").unlink()
    ours.joinpath("search").symlink_to(tmp_path)  # of another installation
    environment(tmp_path, [ROOT / "search"])
    assert ours.joinpath("search").resolve() == ROOT / "search"


def test_its_command_has_moved_and_says_so() -> None:
    line = [sys.executable, "-m", "targets.emulated_board", "build"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the command is now: python -m squeezenas_tvm.emulated_board\n"


@pytest.mark.parametrize("contents", [None, "apache-tvm==0.1\n", "of my thesis\n"])
def test_other_folders_are_not_replaced(
    contents: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("qemu-aarch64-static", "apt-get", "dpkg-deb"):
        (tmp_path / tool).symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))
    folder, beside = tmp_path / "board", tmp_path / ".board-backup"
    for place in (folder, beside):
        place.mkdir()
        (place / "thesis").touch()
    if contents is not None:
        (folder / "contents").write_text(contents)
    with pytest.raises(BoardNotBuilt, match=r"board: holds .*thesis, which is no emulated board; name"):
        build(folder)
    assert (folder / "thesis").exists()
    assert (beside / "thesis").exists()
