"""The command that makes the emulated board and runs Python on it.

What it is for, boards over RPC, is test_emulated.py's.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from squeezenas_tvm.emulated_board import main
from targets import BoardNotBuilt, MissingTool
from targets.emulated_board import build, default_folder, is_built

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The board's folder, where it can be had."""
    try:
        build(default_folder())
    except (MissingTool, BoardNotBuilt) as error:
        pytest.skip(f"no emulated board: {error}")
    return default_folder()


@pytest.fixture
def no_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real apt, which knows of no archive."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("no apt on this machine")
    config = tmp_path / "apt.conf"
    config.write_text('Dir::Etc "/nonexistent";\n', encoding="ascii")
    monkeypatch.setenv("APT_CONFIG", str(config))


def board(*arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "squeezenas_tvm.emulated_board", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_python_runs_there_on_the_other_processor_with_our_packages_alone(folder: Path) -> None:
    code = "import platform, targets, sys; print(platform.machine(), targets.__file__); import onnx"
    done = board("python", "-c", code)
    assert done.stdout.startswith("aarch64 "), done.stderr
    assert "No module named 'onnx'" in done.stderr
    assert done.returncode == 1


def test_the_exit_code_is_that_of_what_ran_there(folder: Path) -> None:
    assert board("python", "-c", "import sys; sys.exit(7)").returncode == 7


def test_serve_is_the_board_command(folder: Path) -> None:
    done = board("serve", "--port", "99999")
    assert done.returncode == 2
    said = "error: argument --port: '99999' is not a whole number of 1 or more, at most 65535"
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("no_sources")
def test_packages_that_cannot_be_fetched_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qemu-aarch64-static").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    folder = tmp_path / "cache" / "board"
    assert main(["--folder", str(folder), "build"]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: apt-get failed with 100: E: Unable to locate package ")
    assert line.endswith(
        "; nothing was changed: check that this machine reaches its package sources, and "
        "give the same command again"
    )
    assert [path.name for path in folder.parent.iterdir()] == ["board.lock"]


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for tool in ("qemu-aarch64-static", "apt-get", "dpkg-deb"):
        (tmp_path / tool).symlink_to("/bin/true")
    (tmp_path / "file").touch()
    assert main(["--folder", str(tmp_path / "file" / "board"), "build"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file'}: ")
    assert line.endswith("name another --folder")


@pytest.mark.slow
def test_killed_in_the_middle_it_is_made_anew_from_nothing(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "board"
    line = [sys.executable, "-m", "squeezenas_tvm.emulated_board", "--folder", str(made), "build"]
    first = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stderr is not None
    while "wheels" not in first.stderr.readline():
        assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not made.exists()
    assert len(list(tmp_path.glob(".board-*"))) == 1
    subprocess.run(line, cwd=ROOT, check=True)
    assert is_built(made)
    assert list(tmp_path.glob(".board-*")) == []
    assert board("--folder", str(made), "python", "-c", "import targets.tvm_import").returncode == 0
