"""The profile command interrupted by Ctrl-C or a full disk: it says so, keeps what it has, and goes on."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cost_models.database.table import LatencyTable
from squeezenas_tvm.profile import KEPT, main

from .helpers import TRIED, command, finish, kernels_of
from .measuring import (
    ONLY_KERNELS,
    TRIALS,
    alive,
    arguments,
    check_kept,
    complaints,
    descendants,
    results,
    schedules,
    timed,
    wait_for,
)

STOPPED = f"stopped: {KEPT}"
ONLY = ("-c", ONLY_KERNELS)


def test_interrupted_anywhere_it_goes_on_and_repeats_nothing(
    quick: Path, folder: Path, tmp_path: Path
) -> None:
    moments = random.Random(3)
    before = results(folder)
    for _ in range(4):
        process = command("profile", *arguments(quick, folder), cwd=tmp_path)
        try:
            process.wait(timeout=moments.uniform(1.0, 6.0))
        except subprocess.TimeoutExpired:
            started = descendants(process)
            process.send_signal(signal.SIGINT)
            code, out, said = finish(process)
            assert (code, out) == (130, ""), said
            assert complaints(said) == [STOPPED]
            assert alive(started) == []
        finally:
            process.kill()
        after = results(folder)
        check_kept(before, after)
        before = after
        for key, found in schedules(folder).items():
            assert len(found) == len(set(found)) <= TRIALS
            assert found or timed(folder)[key] in ([], [None])
    last = command("profile", *arguments(quick, folder), "--json", cwd=tmp_path, program=ONLY)
    code, out, said = finish(last)
    assert code == 0, said
    assert json.loads(out)["missing"] == []
    check_kept(before, results(folder))
    for found in schedules(folder).values():
        assert len(found) == len(set(found)) == TRIALS
    assert set(LatencyTable.load(folder, target="quick-cpu").rows) == {kernel.key for kernel in kernels_of()}


def test_ctrl_c_leaves_one_line_and_neither_process_nor_file(
    quick: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    environ = {"TMPDIR": str(tmp_path / "tmp")}
    process = command("profile", *arguments(quick, folder, TRIED), cwd=tmp_path, environ=environ)
    wait_for(lambda: any(schedules(folder).values()), process)
    started = descendants(process)
    pids = {process.pid, *(child.pid for child in started)}
    listening = [
        connection.laddr
        for connection in psutil.net_connections("inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]
    assert listening == []
    for child in (psutil.Process(process.pid), *started):
        with contextlib.suppress(psutil.NoSuchProcess):  # a build or a session that has ended since
            assert not [m.path for m in child.memory_maps() if "libtorch" in m.path], child.cmdline()
    process.send_signal(signal.SIGINT)
    code, out, said = finish(process)
    assert (code, out) == (130, "")
    assert complaints(said) == [STOPPED]
    assert alive(started) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system, mounted; skips where that is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.usefixtures("no_hold_outs")
def test_full_disk_is_one_line_and_what_was_stored_stays(
    quick: Path, almost_all: Path, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(almost_all, disk)
    LatencyTable("quick-cpu", {}).save(disk, made_by="a test")
    before = results(disk)
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    ballast.write_bytes(bytes(free - 96 * 1024))  # room for SQLite's own two files and a few rows
    code, out, said = finish(command("profile", *arguments(quick, disk), cwd=tmp_path, program=ONLY))
    assert (code, out) == (2, ""), said
    (line,) = complaints(said)
    assert line.startswith(f"error: {disk}/")
    assert "cannot be written" in line
    assert "give the same command again" in line
    stored = results(disk)
    check_kept(before, stored)
    ballast.unlink()
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.sample_blocks", lambda *_, **__: [])
    assert main(arguments(quick, disk)) == 0
    check_kept(stored, results(disk))
    assert all(len(found) == TRIALS for found in schedules(disk).values())
