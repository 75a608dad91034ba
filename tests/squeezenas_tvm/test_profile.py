"""The profile command: a table from measurements, whatever interrupts it, and nothing measured twice."""

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from cost_models.kernels import split_into_kernels
from cost_models.table import LatencyTable
from search.spaces import get_space
from squeezenas_tvm.profile import KEPT, _report, main, measure_kernels
from targets import load_target

from .measuring import SIZE, TRIED, command, fill, finish, kernels_of, quick_target, refused_by, seconds

LEFT_OUT = [kernel for kernel in kernels_of() if kernel.kind == "depthwise"][:3]
TRIALS = 3
STOPPED = f"stopped: {KEPT}"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def almost_all(tmp_path_factory: pytest.TempPathFactory, quick: Path) -> Path:
    """A store in which all kernels of Small but three are measured; only to be copied."""
    folder = tmp_path_factory.mktemp("filled")
    return fill(folder, load_target(quick), [k for k in kernels_of() if k not in LEFT_OUT])


@pytest.fixture
def folder(almost_all: Path, tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    shutil.copy(almost_all, tmp_path / "out")
    return tmp_path / "out"


def arguments(quick: Path, folder: Path, trials: int = TRIALS) -> list[str]:
    return [
        *("--target", str(quick), "--space", "small", "--resolution", str(SIZE)),
        *("--trials", str(trials), "--out", str(folder)),
    ]


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What the store says of the three kernels: traces of their trials, and how often each kind was timed."""
    store = sqlite3.connect(folder / "measurements.sqlite")
    found = {
        kernel.key: {
            "traces": [
                t for (t,) in store.execute("SELECT trace FROM trials WHERE kernel = ?", [kernel.key])
            ],
            "how": [
                how for (how,) in store.execute("SELECT how FROM measurements WHERE kernel = ?", [kernel.key])
            ],
        }
        for kernel in LEFT_OUT
    }
    assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
    return found


def descendants(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after some time; one that nobody has reaped does not run."""
    _, left = psutil.wait_procs(processes, timeout=20)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def wait_for(holds: Callable[[], object], process: "subprocess.Popen[str]", limit_s: float = 120) -> None:
    give_up_at = time.monotonic() + limit_s
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture(scope="module")
def profiled(
    almost_all: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    """One whole run with --json, in a process that may not have PyTorch: folder, document, stderr."""
    folder = tmp_path_factory.mktemp("profiled")
    shutil.copy(almost_all, folder)
    script = (
        "import sys\n"
        "from squeezenas_tvm.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "assert sys.modules.get('torch') is None, 'PyTorch was imported'\n"
        "sys.exit(code)\n"
    )
    argv = [sys.executable, "-c", script, "profile", *arguments(quick, folder), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


# --- the table ---


def test_table_has_every_position_and_candidate_with_median_spread_and_samples(
    profiled: tuple[Path, dict[str, Any], str],
) -> None:
    _, document, _ = profiled
    space = get_space("small")
    assert document["missing"] == []
    assert [list(row) for row in document["blocks"]] == [list(p.candidates) for p in space.positions]
    assert list(document["fixed"]) == ["frame", "stem", "head", "decoder", "classes"]
    identity = {"median_ms": 0, "low_ms": 0, "high_ms": 0, "samples": 0, "kernels": 0, "tuned_kernels": 0}
    for position, row in zip(space.positions, document["blocks"], strict=True):
        for name, entry in row.items():
            if name == "skip" and (position.in_channels, position.stride) == (position.out_channels, 1):
                assert entry == identity
            else:
                assert 0 < entry["low_ms"] <= entry["median_ms"] <= entry["high_ms"]
                assert (entry["samples"], entry["kernels"] > 0) == (3, True)


def test_entries_are_sums_of_measured_kernels(profiled: tuple[Path, dict[str, Any], str]) -> None:
    folder, document, _ = profiled
    measured = LatencyTable.load(folder)
    known = {kernel.key: seconds(kernel) for kernel in kernels_of()}
    for kernel in LEFT_OUT:
        known[kernel.key] = measured.kernel(kernel).median_s
        assert measured.rows[kernel.key].trials == TRIALS
    for index, name, part in get_space("small").blocks(SIZE):
        expected_ms = sum(known[k.key] for k in split_into_kernels(part.graph, part.inputs)) * 1e3
        assert document["blocks"][index][name]["median_ms"] == pytest.approx(expected_ms, rel=1e-6)


def test_document_is_also_a_file_and_everything_else_went_to_stderr(
    profiled: tuple[Path, dict[str, Any], str],
) -> None:
    folder, document, said = profiled
    path = folder / f"squeezenas-small-{SIZE}.json"
    assert json.loads(path.read_text(encoding="utf-8")) == document
    assert document["folder"] == str(folder)
    assert f"profile {len(kernels_of())}/{len(kernels_of())}, took " in said
    assert not list(folder.glob("*.partial"))


def test_same_command_again_measures_nothing_and_more_trials_are_the_difference(
    profiled: tuple[Path, dict[str, Any], str],
    quick: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(profiled[0], tmp_path / "again"))
    before = rows(folder)
    assert main(arguments(quick, folder)) == 0
    assert rows(folder) == before
    said = capfd.readouterr().out
    assert "Median latency in ms by position and candidate:" in said
    assert f"Table: {folder / f'squeezenas-small-{SIZE}.json'} (raw samples: {folder}/measurements" in said
    assert main(arguments(quick, folder, TRIALS + 2)) == 0
    for key, row in rows(folder).items():
        assert row["traces"][:TRIALS] == before[key]["traces"]
        assert len(row["traces"]) == len(set(row["traces"])) == TRIALS + 2
        assert row["how"].count("default") == 1


def test_hole_is_shown_and_the_exit_code_says_so(
    profiled: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    whole = LatencyTable.load(profiled[0])
    without = {key: row for key, row in whole.rows.items() if key != LEFT_OUT[0].key}
    result = _report(
        LatencyTable("quick-cpu", whole.fingerprint, without), get_space("small"), SIZE, 19, tmp_path
    )
    assert result.exit_code == 1
    assert isinstance(result.document, dict)
    assert result.document["missing"] == ["0/k3e1", "0/k3e1g2"]
    assert result.document["blocks"][0]["k3e1"] is None
    assert "Not measured (2): 0/k3e1, 0/k3e1g2; the same command tries the rest again." in result.text


# --- interruptions ---


def test_interrupted_anywhere_it_goes_on_and_repeats_nothing(
    quick: Path, folder: Path, tmp_path: Path
) -> None:
    moments = random.Random(3)
    for stop in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
        environ = {"TMPDIR": str(tmp_path)}  # SIGKILL while builders start leaves their logs
        process = command("profile", *arguments(quick, folder), cwd=tmp_path, environ=environ)
        try:
            process.wait(timeout=moments.uniform(1.0, 5.0))
        except subprocess.TimeoutExpired:
            started = descendants(process)
            process.send_signal(stop)
            code, out, said = finish(process)
            assert code == (130 if stop == signal.SIGINT else -signal.SIGKILL), said
            assert out == ""
            assert "Traceback" not in said
            if stop == signal.SIGINT:
                assert said.splitlines()[-1] == STOPPED
            assert alive(started) == []
        finally:
            process.kill()
        for row in rows(folder).values():
            assert len(row["traces"]) == len(set(row["traces"])) <= TRIALS
            assert row["how"].count("default") <= 1
    code, out, said = finish(command("profile", *arguments(quick, folder), "--json", cwd=tmp_path))
    assert code == 0, said
    assert json.loads(out)["missing"] == []
    for row in rows(folder).values():
        assert len(row["traces"]) == len(set(row["traces"])) == TRIALS
        assert row["how"].count("default") == 1
    assert set(LatencyTable.load(folder, target="quick-cpu").rows) == {kernel.key for kernel in kernels_of()}


def test_ctrl_c_leaves_one_line_and_neither_process_nor_file(
    quick: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    environ = {"TMPDIR": str(tmp_path / "tmp")}
    process = command("profile", *arguments(quick, folder, TRIED), cwd=tmp_path, environ=environ)
    wait_for(lambda: any(row["traces"] for row in rows(folder).values()), process)
    started = descendants(process)
    pids = {child.pid for child in started}
    listening = [
        connection.laddr
        for connection in psutil.net_connections("inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2  # tracker and server
    assert {address.ip for address in listening} == {"127.0.0.1"}
    for child in (psutil.Process(process.pid), *started):
        with_torch = [m.path for m in child.memory_maps() if "libtorch" in m.path]
        assert with_torch == [], child.cmdline()
    process.send_signal(signal.SIGINT)
    code, out, said = finish(process)
    assert (code, out) == (130, "")
    assert [line for line in said.splitlines() if not line.startswith("profile ")] == [STOPPED]
    assert alive(started) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not [c for c in psutil.net_connections("inet") if c.laddr in listening and c.status == "LISTEN"]


# --- wrong input, failed work ---


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


def test_full_disk_is_one_line_and_what_was_stored_stays(
    quick: Path, almost_all: Path, disk: Path, tmp_path: Path
) -> None:
    shutil.copy(almost_all, disk)
    LatencyTable("quick-cpu", {}).save(disk, made_by="a test")
    before = sqlite3.connect(disk / "measurements.sqlite").execute("SELECT * FROM measurements").fetchall()
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    ballast.write_bytes(bytes(free - 96 * 1024))  # room for SQLite's own two files and a few rows
    code, out, said = finish(command("profile", *arguments(quick, disk), cwd=tmp_path))
    assert (code, out) == (2, ""), said
    (line,) = [line for line in said.splitlines() if not line.startswith("profile ")]
    assert line.startswith(f"error: {disk}/")
    assert "cannot be written" in line
    assert "give the same command again" in line
    kept = sqlite3.connect(disk / "measurements.sqlite").execute("SELECT * FROM measurements").fetchall()
    assert kept[: len(before)] == before
    stored = rows(disk)
    ballast.unlink()
    assert main(arguments(quick, disk)) == 0
    for key, row in rows(disk).items():
        assert row["traces"][: len(stored[key]["traces"])] == stored[key]["traces"]
        assert len(row["traces"]) == TRIALS


check_refused = partial(refused_by, main)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--target", "local-cup"], "unknown target 'local-cup', did you mean local-cpu?; allowed: "),
        (["--target", "jetson-xavier"], "target jetson-xavier: this release builds for "),
        (["--target", "here.yaml"], "unknown target 'here.yaml'"),
        (["--space", "smal"], "unknown space 'smal', did you mean small?; allowed: mobilenetv3-large, "),
        (["--resolution", "0x0"], "resolution 0x0: sides must be 64 to 8192 pixels; the nearest that works"),
        (["--resolution", "7x7"], "the nearest that works is 64x64"),
        (["--resolution", "abc"], "resolution 'abc': write HEIGHTxWIDTH in pixels, for example 512x1024"),
        (["--resolution", "-64x64"], "expected one argument"),
        (["--dtype", "float61"], "target local-cpu: dtype is 'float61', allowed: float32"),
        (["--trials", "-1"], "argument --trials: '-1' is not a whole number of 0 or more"),
        (["--trials", "few"], "argument --trials: 'few' is not a whole number of 0 or more"),
        (["--classes", "0"], "argument --classes: '0' is not a whole number of 1 or more"),
        (["--tracker", "nowhere"], "HOST:PORT"),
        (["--out", "/dev/null/x"], "/dev/null/x/measurements.sqlite: its folder cannot be made"),
    ],
)
def test_wrong_input_is_one_line(
    argv: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = ["--target", "local-cpu", "--space", "small", "--resolution", str(SIZE), "--trials", "0"]
    check_refused([*usual, *argv], said, capfd)


def test_wrong_input_is_one_line_in_a_process_too(tmp_path: Path) -> None:
    code, out, said = finish(command("profile", "--target", "local-cpu", "--space", "smal", cwd=tmp_path))
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert said.startswith("error: unknown space 'smal', did you mean small?")
    assert list(tmp_path.iterdir()) == []


def test_target_file_with_an_unknown_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = quick_target(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + "sumary: x\n", encoding="utf-8")
    assert main(["--target", str(path)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(
        f"error: {path}: sumary: unknown key, did you mean summary?; allowed: schema_version, "
    )
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_store_that_is_none_is_left_alone(
    quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "measurements.sqlite").write_text("to do\n" * 1000, encoding="utf-8")
    check_refused(arguments(quick, tmp_path), "not a sound measurement store", capfd)
    assert (tmp_path / "measurements.sqlite").read_text(encoding="utf-8") == "to do\n" * 1000


def test_target_that_this_machine_cannot_link_for_is_failed_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = quick_target(tmp_path)
    foreign = "tvm: {kind: llvm, mtriple: aarch64-linux-gnu, mcpu: cortex-a72}"
    text = path.read_text(encoding="utf-8").replace("tvm: {kind: llvm}", foreign)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Exception, match=r"not one of 1 kernels could be measured on quick-cpu: ") as caught:
        measure_kernels(load_target(path), LEFT_OUT[:1], tmp_path / "out", trials=0)
    assert getattr(caught.value, "exit_code", None) == 1
    assert "\n" not in str(caught.value)
