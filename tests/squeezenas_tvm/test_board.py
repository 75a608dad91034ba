"""The board command: what it refuses, a server on this machine, and one that is started through SSH."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.table import LatencyTable
from cost_models.tuning.effort import Effort
from search.resolution import Resolution
from search.spaces.registry import get_space
from squeezenas_tvm.board import main
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from squeezenas_tvm.profiling.summary import summarize
from targets import Target, WrongKey, load_target, open_session

from ..targets.boards import KEY, BoardFiles, below, gone, serving
from ..targets.conftest import LONG_S, free_port, open_yard, wait_until
from .helpers import command, finish, kernels_of, refused_by

TRACKER = ["--tracker", "127.0.0.1:9190"]
PI = ["--target", "raspberry-pi-4"]

# Writes down what it was given and runs the remote command here: both ends are this machine.
SSH = """#!/bin/sh
for last; do printf '%s\\n' "$last" >> "$SSH_LOG"; done
eval "exec $last"
"""


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    with open_yard() as yard:
        yield yard.address


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> BoardFiles:
    return BoardFiles(tmp_path_factory.mktemp("board"))


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an ssh of our own before any other; the file to which it writes its arguments."""
    folder, log = tmp_path / "bin", tmp_path / "ssh.log"
    folder.mkdir()
    install(folder / "ssh", SSH)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(log))
    return log


def install(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def program(folder: Path) -> Path:
    """What a board has in its PATH."""
    path = folder / "squeezenas-tvm"
    install(path, f'#!/bin/sh\nexec {sys.executable} -m squeezenas_tvm "$@"\n')
    return path


def wait_for(process: "subprocess.Popen[str]", text: str) -> str:
    assert process.stderr is not None
    line = process.stderr.readline()
    assert text in line, line
    return line


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            [*PI, *TRACKER, "--bind", "0.0.0.0"],
            "TVM's RPC has no encryption: whoever listens in may run code as you",
        ),
        ([*PI, *TRACKER, "--interface", "eth99"], "interface 'eth99': not there or without an IPv4 address"),
        (
            [*PI, "--tracker", "10.0.0.5:9190"],
            "the server would listen on 127.0.0.1 only, but the tracker at 10.",
        ),
        ([*PI, "--tracker", "nonsense"], "tracker address: found 'nonsense', allowed: HOST:PORT"),
        (
            [*PI, *TRACKER, "--port", "0"],
            "argument --port: '0' is not a whole number of 1 or more, at most 65535",
        ),
        (["--target", "raspbery-pi-4", *TRACKER], "did you mean raspberry-pi-4?"),
        ([*PI, *TRACKER, "--bind", "127.0.0.1", "--ssh", "a@b"], "--ssh: not allowed with argument --bind"),
        (
            [*PI, *TRACKER, "--expose", "--ssh", "a@b"],
            "--ssh: the server listens on the board's loopback; leave",
        ),
        (
            [*PI, *TRACKER, "--stdin-key", "--ssh", "a@b"],
            "--ssh: it passes this user's key; leave --stdin-key out",
        ),
        (
            [*PI, "--tracker", "10.0.0.5:9190", "--ssh", "a@b"],
            "--ssh: found the tracker 10.0.0.5:9190, allowed:",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused_by(main, argv, said, capsys)


def test_a_file_of_ones_own_is_not_on_the_board(
    board: BoardFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--target", str(board.path), *TRACKER, "--ssh", "a@b"]
    refused_by(
        main, argv, f"--ssh: found the file {board.path}, allowed: the name of a shipped target", capsys
    )


def test_a_machine_without_ssh_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = "--ssh: no program ssh here; install an OpenSSH client"
    refused_by(main, [*PI, *TRACKER, "--ssh", "a@b"], said, capsys)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 255", "ended with 255; the reason is above"),
        ("exit 127", "a@b: no squeezenas-tvm in its PATH; give its place there with --program"),
    ],
)
def test_a_connection_that_fails_is_failed_work(
    ssh: Path, tmp_path: Path, script: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "bin" / "ssh", f"#!/bin/sh\n{script}\n")
    refused_by(main, [*PI, *TRACKER, "--ssh", "a@b"], said, capsys, exit_code=1)


def test_it_serves_until_ctrl_c(board: BoardFiles, tracker: str, tmp_path: Path) -> None:
    port = free_port()
    argv = ["board", "--target", str(board.path), "--tracker", tracker, "--port", str(port), "--json"]
    process = command(*argv, cwd=tmp_path)
    said = wait_for(process, f"127.0.0.1:{port} serves {KEY} at tracker {tracker}; MODE_30W, gpu 612 MHz")
    assert said.endswith("Ctrl-C ends it\n")
    with open_session(load_target(board.path), tracker, wait_s=LONG_S) as session:
        assert session.board == f"127.0.0.1:{port}"
    processes = below(process)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"board": f"127.0.0.1:{port}", "key": KEY}
    assert gone(processes)


def test_through_ssh_it_is_started_on_the_board(ssh: Path, tracker: str, tmp_path: Path) -> None:
    """And ended with the connection."""
    port, tracker_port = str(free_port()), tracker.partition(":")[2]
    remote = program(tmp_path)
    options = ["--tracker", tracker, "--port", port, "--ssh", "pi@pi4", "--program", str(remote)]
    process = command("board", *PI, *options, cwd=tmp_path)
    wait_for(process, f"127.0.0.1:{port} serves raspberry-pi-4 at tracker 127.0.0.1:{tracker_port}; ")
    assert ssh.read_text().splitlines()[-6:] == [
        "-R",
        f"{tracker_port}:127.0.0.1:{tracker_port}",
        "-L",
        f"{port}:127.0.0.1:{port}",
        "pi@pi4",
        f"{remote} board --target raspberry-pi-4 --tracker 127.0.0.1:{tracker_port} --port {port} "
        "--stdin-key",
    ]
    with open_session(load_target("raspberry-pi-4"), tracker, wait_s=LONG_S) as session:
        assert session.reading is not None
    processes = below(process)
    assert len(processes) > 2  # this command, the board (in the place of ssh), its server
    process.terminate()
    code, out, _ = finish(process)
    assert (code, out) == (0, f"127.0.0.1:{port} is stopped\n")
    assert wait_until(lambda: gone(processes))


def test_on_the_board_it_ends_with_its_standard_input(
    board: BoardFiles, tracker: str, tmp_path: Path
) -> None:
    """Which is how the end of an SSH connection shows there."""
    place = ["--target", str(board.path), "--tracker", tracker, "--port", str(free_port())]
    process = command("board", *place, "--stdin-key", cwd=tmp_path, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("a" * 64 + "\n")
    process.stdin.flush()
    wait_for(process, f"serves {KEY} at tracker")
    with pytest.raises(WrongKey), open_session(load_target(board.path), tracker, wait_s=LONG_S):
        pass
    processes = below(process)
    code, _, err = finish(process)  # closes it
    assert (code, err) == (0, "")
    assert gone(processes)


def test_what_is_no_key_on_standard_input_is_refused(board: BoardFiles, tmp_path: Path) -> None:
    argv = ["board", "--target", str(board.path), *TRACKER, "--stdin-key"]
    code, out, err = finish(command(*argv, cwd=tmp_path, stdin=subprocess.DEVNULL))
    assert (code, out) == (2, "")
    assert err == ("error: standard input: no key of boards; allowed: one line of 32 to 128 digits 0-9a-f\n")


@pytest.fixture(scope="module")
def profiled(
    board: BoardFiles, tracker: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, Any]:
    """A profile of one kernel on a board: folder, the board's name, what was measured."""
    folder = tmp_path_factory.mktemp("profile")
    kernel = next(kernel for kernel in kernels_of() if kernel.kind == "depthwise")
    target: Target = load_target(board.path)
    with serving(board.path, tracker) as name:
        measured = measure_kernels(
            target, Wanted(kernels=[kernel], effort=Effort.alone(0)), folder, tracker=tracker
        )
    return folder, name, (measured, kernel)


def test_a_profile_says_what_state_its_boards_were_in(profiled: tuple[Path, str, Any]) -> None:
    folder, name, (measured, kernel) = profiled
    (told,) = json.loads((folder / "table.json").read_text())["boards"]
    assert (told["name"], told["failures"]) == (name, 0)
    assert told["done"] > 0
    for when in ("before", "after"):
        assert (told[when]["power_mode"], told[when]["clocks_mhz"]) == ("MODE_30W", {"gpu": 612.0})
    assert LatencyTable.load(folder).boards == (told,)
    profile = summarize(measured, [kernel], get_space("small"), Resolution(64, 128), 19, folder)
    assert profile.document().model_dump(mode="json")["boards"] == [told]
    assert f"Board {name}: at first MODE_30W, gpu 612 MHz" in profile.text()
    assert "; at last MODE_30W, gpu 612 MHz" in profile.text()
