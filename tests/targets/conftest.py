"""Real parts for the tests of targets/: compiled libraries, a running server, and a yard of boards."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import targets
from targets import BoardState, Fleet, LocalServer, Session, Target, load_target, local_rpc

ROOT = Path(targets.__file__).parents[1]
LONG_S = 60.0  # a bound that only a failure reaches

BAD = """
int __tvm_ffi_spin(void *self, const void *args, int count, void *result) {
  volatile int go = 1;
  while (go);
  return 0;
}
int __tvm_ffi_crash(void *self, const void *args, int count, void *result) {
  *(volatile int *)8 = 1;
  return 0;
}
int __tvm_ffi_count(void *self, const void *args, int count, void *result) {
  for (volatile int i = 0; i < 4000000; i++);
  return 0;
}
"""

# One process that has loaded TVM forks a tracker, and a server for each line of stdin: "PORT VERSION KEY
# SLOWER", where VERSION may be "own"; kernels take SLOWER times as long as they do. Every one is a process
# group of its own, so that it can be stopped with its workers, and the kernel kills what this process leaves
# behind, even what is stopped.
YARD = """
import array, base64, ctypes, os, signal, sys, time
from targets.tvm_import import tvm
from tvm.rpc import server, tracker
import tvm_ffi

def spawn(start):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.write(theirs, b"%d" % start().port)
        os.close(theirs)
        while True:
            signal.pause()
    os.close(theirs)
    port = os.read(ours, 10).decode()
    os.close(ours)
    print(pid, port, flush=True)

def as_version(version):
    def workload_as_json(workload):
        text = '"tvm_version": "%s"' % version
        return tvm.runtime.convert(["", base64.b64encode(text.encode()).decode()])
    tvm_ffi.register_global_func("s_tir.meta_schedule.WorkloadAsJSON", workload_as_json, override=True)

def be_slower(factor):
    evaluator_of = tvm_ffi.get_global_func("runtime.RPCTimeEvaluator")
    def slower_evaluator_of(*given):
        evaluate = evaluator_of(*given)
        def evaluate_slower(*arguments):
            seconds = array.array("d", bytes(evaluate(*arguments)))
            return array.array("d", [factor * value for value in seconds]).tobytes()
        return evaluate_slower
    tvm_ffi.register_global_func("runtime.RPCTimeEvaluator", slower_evaluator_of, override=True)

def start_server(port, version, key, slower):
    if version != "own":
        as_version(version)
    if slower != 1:
        be_slower(slower)
    address = ("127.0.0.1", tracker_port)
    State = server.PopenRPCServerState
    return State("127.0.0.1", port, port + 1, tracker_addr=address, key=key, silent=True)

libc, PR_SET_PDEATHSIG = ctypes.CDLL(None), 1
os.register_at_fork(after_in_child=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
tracker_port, Tracker = int(sys.argv[1]), tracker.PopenTrackerServerState
spawn(lambda: Tracker("127.0.0.1", tracker_port, tracker_port + 1, silent=True))
for line in sys.stdin:
    port, version, key, slower = line.split()
    spawn(lambda: start_server(int(port), version, key, float(slower)))
"""

# Moves a board to one CPU and keeps that busy with other processes, each a session of its own, since Linux
# may share time between sessions first.
CROWD = """
import os, signal, sys
board, cpu, others = map(int, sys.argv[1:])
for name in os.listdir("/proc"):
    if name.isdigit() and os.getpgid(int(name)) == board:
        for thread in os.listdir(f"/proc/{name}/task"):
            os.sched_setaffinity(int(thread), {cpu})
parent = os.getpid()
for _ in range(others):
    if os.fork() == 0:
        os.setsid()
        os.sched_setaffinity(0, {cpu})
        while os.getppid() == parent:
            pass
        os._exit(0)
os.killpg(board, signal.SIGCONT)
signal.pause()
"""


def write(folder: Path, change: dict[str, Any], remove: str = "", base: str = "jetson-xavier") -> Path:
    """A copy of a shipped target; a key in ``change`` may name a section's key as ``section.key``."""
    raw = yaml.safe_load((ROOT / "targets" / f"{base}.yaml").read_text())
    raw.pop(remove, None)
    for key, value in change.items():
        *section, name = key.split(".")
        (raw[section[0]] if section else raw)[name] = value
    path = folder / "my-board.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


class Board:
    """A real RPC server, with its workers a process group of its own."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port, self.name = pid, port, f"127.0.0.1:{port}"

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


class Yard:
    """A tracker and as many boards as are asked for; see YARD."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._tracker, port = self._answer()
        self.address = f"127.0.0.1:{port}"
        self._boards: list[Board] = []

    def board(self, port: int = 0, version: str = "own", key: str = "board", slower: float = 1.0) -> Board:
        """A new board, on a given port if that matters; kernels take ``slower`` times as long there."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{port or free_port()} {version} {key} {slower}\n")
        self._process.stdin.flush()
        self._boards.append(Board(*self._answer()))
        return self._boards[-1]

    def clear(self) -> None:
        """Kill all boards, and wait until none of their processes is left."""
        groups = {board.pid for board in self._boards}
        for board in self._boards:
            board.kill()
        while any(group_of(process) in groups for process in psutil.process_iter()):
            time.sleep(0.02)
        self._boards.clear()

    def close(self) -> None:
        self.clear()
        os.killpg(self._tracker, signal.SIGKILL)

    def _answer(self) -> tuple[int, int]:
        assert self._process.stdout is not None
        pid, port = self._process.stdout.readline().split()
        return int(pid), int(port)


@contextlib.contextmanager
def slowed(board: Board, share: float) -> Iterator[None]:
    """Leave a board about a share of the time of one CPU."""
    cpu, others = max(os.sched_getaffinity(0)), round(1 / share) - 1
    arguments = [str(board.pid), str(cpu), str(others)]
    with subprocess.Popen([sys.executable, "-IS", "-c", CROWD, *arguments]) as crowd:
        board.signal(signal.SIGSTOP)  # until the crowd is there
        try:
            yield
        finally:
            crowd.kill()


def nothing(session: Session) -> str:
    session.device.sync()
    return session.board


def state_of(fleet: Fleet, board: Board) -> BoardState:
    return next(state for state in fleet.boards() if state.name == board.name)


def wait_until(condition: Callable[[], bool]) -> bool:
    """False if it has not come true within LONG_S."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def group_of(process: psutil.Process) -> int:
    """The process group; 0 for one that is dead already."""
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if process.status() != psutil.STATUS_ZOMBIE:
            return os.getpgid(process.pid)
    return 0


@contextlib.contextmanager
def open_yard() -> Iterator[Yard]:
    """A yard for the ``with`` block."""
    with subprocess.Popen(
        [sys.executable, "-c", YARD, str(free_port())],
        cwd=ROOT,
        env={**os.environ, "TVM_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yard = Yard(process)
        try:
            yield yard
        finally:
            yard.close()
            process.kill()


@pytest.fixture(scope="module")
def whole_yard() -> Iterator[Yard]:
    with open_yard() as opened:
        yield opened


@pytest.fixture
def yard(whole_yard: Yard) -> Iterator[Yard]:
    yield whole_yard
    whole_yard.clear()


@pytest.fixture(scope="session")
def board_target(local_cpu: Target) -> Target:
    """Boards of the yard: this machine's CPU, but reached as a board is, with no server of its own."""
    rpc = local_cpu.rpc.model_copy(update={"key": "board", "slower_by": 2.5})  # neighbours slow a core by 1.6
    return local_cpu.model_copy(update={"rpc": rpc})


@pytest.fixture(scope="session")
def local_cpu() -> Target:
    return load_target("local-cpu")


@pytest.fixture(scope="session")
def add_library(tmp_path_factory: pytest.TempPathFactory, local_cpu: Target) -> Path:
    """``main(x, y)``: y = x + 1, float32[8]."""
    from targets.tvm_import import tvm

    te = tvm.te
    x = te.placeholder((8,), name="x")
    y = te.compute((8,), lambda i: x[i] + 1.0, name="y")
    module: Any = tvm.compile(
        tvm.IRModule({"main": te.create_prim_func([x, y])}), target=local_cpu.tvm_target()
    )
    path = tmp_path_factory.mktemp("add") / "add.so"
    module.export_library(str(path))
    return path


@pytest.fixture(scope="session")
def bad_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``spin()`` never returns, ``crash()`` is a segmentation fault, ``count()`` takes some milliseconds."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad.c").write_text(BAD)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "bad.so", "bad.c"], cwd=folder, check=True)
    return folder / "bad.so"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with local_rpc("local-cpu") as running:
        yield running
