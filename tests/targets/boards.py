"""A board that is this machine: its target file, its state in files that tests write, its server."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from .conftest import LONG_S, ROOT, free_port

KEY = "test-board"
BOARD = f"""
schema_version: 1
name: {KEY}
summary: this machine, reached as a board is
kind: board
model: Test board
tvm: {{kind: llvm, num-cores: 1}}
rpc: {{key: {KEY}}}
dtypes: [float32]
measure:
  {{number: 1, repeat: 3, min_repeat_ms: 0, cooldown_ms: 0, timeout_s: 30, interval_width: 0.5, drift: 0.5}}
power_modes: {{default: MODE_30W, names: [MAXN, MODE_15W, MODE_30W]}}
readings:
  power_mode: {{command: [cat, FOLDER/mode], pattern: 'NV Power Mode: (\\S+)'}}
  clocks:
    gpu: {{path: FOLDER/17000000.g*/cur_freq, per_mhz: 1000000}}
    cpu: {{path: FOLDER/nowhere, per_mhz: 1000}}
"""

SERVE = """
import sys
from targets import TargetError, load_target
from targets.rpc.board_server import serve
from targets.rpc.key import own_key
name, tracker, port = sys.argv[1:]
def ready():
    print("ready", flush=True)
try:
    serve(load_target(name), tracker, "127.0.0.1", int(port), own_key(), ready=ready)
except TargetError as error:
    sys.exit(error)
"""


class BoardFiles:
    """The files of a board: ``path`` is its target's; power mode and GPU clock are what was set last."""

    def __init__(self, folder: Path) -> None:
        self.path, self._folder = folder / f"{KEY}.yaml", folder
        self.path.write_text(BOARD.replace("FOLDER", str(folder)), encoding="utf-8")
        (folder / "17000000.gpu").mkdir()
        self.set(mode="MODE_30W", gpu_mhz=612)

    def set(self, mode: str | None, gpu_mhz: int) -> None:
        """None: the board cannot tell."""
        said = f"NV Power Mode: {mode}\n2\n" if mode else "NVPM ERROR: no such file\n"
        partial = self._folder / "mode.partial"
        partial.write_text(said, encoding="utf-8")
        partial.replace(self._folder / "mode")
        (self._folder / "17000000.gpu" / "cur_freq").write_text(f"{gpu_mhz * 1000000}\n", encoding="utf-8")


def start(path: Path, tracker: str, port: int, temporary: Path | None = None) -> "subprocess.Popen[str]":
    """The process of a board's server, in a process group of its own; says ``ready``."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path), tracker, str(port)],
        cwd=ROOT,
        env=os.environ | ({"TMPDIR": str(temporary)} if temporary else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@contextlib.contextmanager
def serving(path: Path, tracker: str) -> Iterator[str]:
    """A board's server, registered at a tracker for the ``with`` block; gives the board's name."""
    port = free_port()
    with start(path, tracker, port) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            _, said = process.communicate(timeout=LONG_S)
    assert (process.returncode, "Traceback" in said) == (0, False), said


def below(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """A process and all that it has started."""
    first = psutil.Process(process.pid)
    return [first, *first.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True
