"""Another user of this machine gets neither the local server nor a board, though he finds their ports."""

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from targets import LocalServer, Target, load_target, open_session
from targets.rpc.tracker import Grant, Tracker

from ..boards import BoardFiles, serving
from ..conftest import LONG_S, Yard

# Connects as TVM's client does, but as nobody; prints what it is told.
INTRUDER = """
import os, socket, struct, sys
host, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with socket.socket() as connection:  # nobody may read no file of Python's
    connection.settimeout(20)
    connection.connect((host, port))
    connection.sendall(struct.pack("<ii", 0xFF271, len(key)) + key)
    try:
        answer = connection.recv(4)
    except ConnectionResetError:
        answer = b""
print(answer.hex())
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def told_nobody(host: str, port: int, key: str) -> bytes:
    """What an RPC server answers another user."""
    done = subprocess.run(
        [sys.executable, "-c", INTRUDER, host, str(port), f"client:{key}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONG_S,
    )
    return bytes.fromhex(done.stdout.strip())


def granted(tracker: str, key: str) -> Grant:
    with Tracker(tracker) as connection:
        connection.request(key)
        grant = connection.grant(LONG_S)
    assert grant is not None
    return grant


def test_who_is_faster_at_the_local_servers_port_is_hung_up_on(
    server: LocalServer, local_cpu: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from targets.tvm_import import tvm

    told: list[bytes] = []
    connect = tvm.rpc.connect

    def connect_second(host: str, port: int, key: str, **options: Any) -> Any:
        told.append(told_nobody(host, port, key))
        return connect(host, port, key, **options)

    monkeypatch.setattr(tvm.rpc, "connect", connect_second)
    with open_session(local_cpu, server) as session:
        assert session.tvm_version == tvm.__version__
    assert told == [b""]


def test_nothing_of_a_local_server_can_be_addressed(server: LocalServer, local_cpu: Target) -> None:
    with open_session(local_cpu, server):
        host = psutil.Process(server._process.pid)
        tree = [host, *host.children(recursive=True)]
        assert len(tree) == 3
        pids = {process.pid for process in tree}
        connections = [found for found in psutil.net_connections("all") if found.pid in pids]
        assert {found.status for found in connections} <= {psutil.CONN_NONE, psutil.CONN_ESTABLISHED}
        assert {found.laddr for found in connections if found.status == psutil.CONN_NONE} == {""}
        assert Path(host.cwd()).stat().st_mode & 0o077 == 0


def test_a_board_is_not_his_though_the_tracker_grants_it(yard: Yard, tmp_path: Path) -> None:
    plain = yard.board()
    success = struct.pack("<i", 0xFF271)
    grant = granted(yard.address, "board")
    assert told_nobody("127.0.0.1", plain.port, grant.match_key) == success  # a server without a key

    files = BoardFiles(tmp_path)
    target = load_target(files.path)
    with serving(files.path, yard.address) as name:
        for shown in ("", " -proof=", f" -proof={'0' * 64}"):
            grant = granted(yard.address, target.rpc.key)
            answer = told_nobody(grant.host, grant.port, grant.match_key + shown)
            assert len(answer) == 4
            assert answer != success
        with open_session(target, yard.address, wait_s=LONG_S) as session:
            assert session.board == name
