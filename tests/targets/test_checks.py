"""What a target needs, asked of real linkers, compilers, trackers and boards."""

import sys
from functools import partial
from pathlib import Path

import pytest

from targets import Target, TargetError, checks, list_targets, load_target
from targets.checks import BUILD, ENERGY, FLOAT16, MEASURE, Check, check_target
from targets.cuda_stand_in import why_no_gpu
from targets.errors import MissingTool
from targets.rpc.tracker import Tracker
from targets.sensors.power import power_sensor
from targets.spec import Rpc, Toolchain
from targets.toolchain.cuda_compiler import find_cuda_compiler

from .conftest import Yard, free_port, wait_until

VARIABLE = "CHECKS_TEST_TRACKER"


@pytest.fixture
def board() -> Target:
    """A CPU board with this machine's own linker: what the yard's servers are."""
    cpu = load_target("local-cpu")
    return cpu.model_copy(
        update={
            "name": "stand-in",
            "kind": "board",
            "model": "a server of this machine",
            "tvm": {"kind": "llvm", "num-cores": 1},
            "rpc": Rpc(key="board", tracker_env=VARIABLE),
        }
    )


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH leads to this empty folder alone, and the package that brings a linker counts as absent."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    return tmp_path


@pytest.fixture(autouse=True)
def no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "SQUEEZENAS_TRACKER"):
        monkeypatch.delenv(name, raising=False)


def wait_for(yard: Yard, boards: int) -> None:
    with Tracker(yard.address) as tracker:
        assert wait_until(lambda: len(tracker.registered()) == boards)


def named(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name.startswith(name)]
    return found


@pytest.mark.parametrize("name", list_targets())
def test_what_is_missing_has_a_fix_and_nothing_else_has(name: str) -> None:
    checks = check_target(load_target(name))
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.found
        assert bool(check.fix) != check.ok, check


def test_this_machine_has_all_it_needs() -> None:
    checks = check_target(load_target("local-cpu"))
    names = [check.name for check in checks if check.needed_for != ENERGY]  # a sensor is a bonus
    assert names == ["TVM", "C++ compiler", "device"]
    assert all(check.ok for check in checks)
    assert named(checks, "TVM").found in named(checks, "device").found


def test_a_power_sensor_is_named_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = tmp_path / "class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, value in (("name", "package-0"), ("energy_uj", "7"), ("max_energy_range_uj", "99")):
        (zone / name).write_text(value, encoding="ascii")
    monkeypatch.setattr(checks, "power_sensor", partial(power_sensor, tmp_path))
    assert checks.check_target(load_target("local-cpu"))[-1] == Check(
        "power sensor", True, "RAPL package-0", needed_for=ENERGY
    )
    (zone / "energy_uj").unlink()
    assert ENERGY not in [check.needed_for for check in check_target(load_target("local-cpu"))]


def test_no_compiler_for_this_machine(no_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = check_target(load_target("local-cpu"))
    assert checks[-1] == Check(
        "C++ compiler", False, "none in PATH", "on Debian and Ubuntu: apt install g++", BUILD
    )
    monkeypatch.setenv("CXX", "my-g++")
    assert check_target(load_target("local-cpu"))[-1].found == "my-g++ is not in PATH"


def test_no_linker_for_a_board(no_programs: Path) -> None:
    linker = named(check_target(load_target("raspberry-pi-4")), "linker")
    assert linker.name == "linker for aarch64-linux-gnu"
    assert linker.needed_for == BUILD
    assert linker.found == "no linker for aarch64-linux-gnu"
    assert "pip install ziglang" in linker.fix
    assert "apt install g++-aarch64-linux-gnu" in linker.fix


def test_a_linker_that_does_not_link(no_programs: Path) -> None:
    program = no_programs / "aarch64-linux-gnu-gcc"
    program.write_text("#!/bin/sh\necho 'error: disk full' >&2\nexit 3\n", encoding="ascii")
    program.chmod(0o755)
    linker = named(check_target(load_target("raspberry-pi-4")), "linker")
    assert not linker.ok
    assert "failed with 3: error: disk full" in linker.found + linker.fix


def test_a_board_without_a_gpu_needs_nothing_of_cuda() -> None:
    assert not [check for check in check_target(load_target("raspberry-pi-4")) if "CUDA" in check.name]


def test_no_compiler_for_the_gpu() -> None:
    xavier = load_target("jetson-xavier")
    assert xavier.toolchain is not None
    newer = xavier.toolchain.model_copy(update={"cuda": "99.0"})
    checks = check_target(xavier.model_copy(update={"toolchain": newer}))
    for name in ("CUDA compiler for sm_72", "CUDA headers"):
        check = named(checks, name)
        assert check.found.startswith("no compiler for sm_72 and CUDA 99.0: NVRTC found here: ")
        assert check.fix == "install a CUDA 99 toolkit and set CUDA_HOME to it"


def test_a_compiler_for_the_gpu_is_tried() -> None:
    try:
        library = find_cuda_compiler("sm_72", "11.4").library
    except MissingTool as missing:
        pytest.skip(str(missing))
    checks = check_target(load_target("jetson-xavier"))
    compiler = named(checks, "CUDA compiler for sm_72")
    assert compiler.ok
    assert compiler.found.startswith("NVRTC 11.")
    assert compiler.found.endswith(str(library))
    assert named(checks, "TVM's CUDA runtime").ok
    assert named(checks, "CUDA headers").needed_for == FLOAT16


def test_no_gpu_in_this_machine() -> None:
    checks = check_target(load_target("local-cuda"))
    if checks[-1].name != "GPU":
        pytest.skip("this machine has a GPU")
    assert not checks[-1].ok
    assert checks[-1].found == why_no_gpu()
    assert checks[-1].needed_for == BUILD


def test_the_emulated_board_that_was_never_built(
    tmp_path: Path, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    checks = check_target(load_target("emulated-aarch64"))
    assert named(checks, "qemu").fix == "on Debian and Ubuntu: apt install qemu-user-static"
    space = named(checks, "user space")
    assert space.found.startswith(str(tmp_path))
    assert space.fix.endswith("-m squeezenas_tvm.emulated_board build")
    assert space.needed_for == MEASURE


def test_no_address_of_a_tracker(board: Target) -> None:
    check = check_target(board)[-1]
    assert (check.name, check.ok, check.found, check.needed_for) == ("tracker", False, "no address", MEASURE)
    assert check.fix == (
        f"give --tracker HOST:PORT, or set {VARIABLE} to it; "
        "start one: python -m tvm.exec.rpc_tracker --host 127.0.0.1 --port 9190 --port-end 9191"
    )


def test_an_address_that_is_none(board: Target) -> None:
    with pytest.raises(TargetError, match="tracker address: found 'nine', allowed: HOST:PORT"):
        check_target(board, "nine")


def test_nobody_at_the_address(board: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv(VARIABLE, f"127.0.0.1:{port}")
    check = check_target(board)[-1]
    assert check.found == f"127.0.0.1:{port}: Connection refused"
    assert check.fix.endswith(f"rpc_tracker --host 127.0.0.1 --port {port} --port-end {port + 1}")


def test_a_tracker_without_the_boards(board: Target, yard: Yard) -> None:
    checks = check_target(board, yard.address)
    assert named(checks, "tracker").ok
    assert checks[-1] == Check(
        "boards under board",
        False,
        "none",
        f"on the board: squeezenas-tvm board --target stand-in.yaml --tracker {yard.address}",
        MEASURE,
    )


def test_a_tracker_that_is_given_is_asked_for_a_local_target_too(yard: Yard) -> None:
    target = load_target("local-cpu")
    port = free_port()
    nobody = named(check_target(target, f"127.0.0.1:{port}"), "tracker")
    assert (nobody.ok, nobody.found) == (False, f"127.0.0.1:{port}: Connection refused")
    with pytest.raises(TargetError, match="found 'nohost:notaport', allowed: HOST:PORT"):
        check_target(target, "nohost:notaport")
    there = check_target(target, yard.address)
    assert named(there, "tracker").ok
    boards = named(there, "boards under local-cpu")
    assert boards.fix == f"on the board: squeezenas-tvm board --target local-cpu --tracker {yard.address}"


def test_a_tracker_with_other_boards(board: Target, yard: Yard) -> None:
    yard.board()
    wait_for(yard, 1)
    other = board.model_copy(update={"rpc": Rpc(key="other")})
    assert check_target(other, yard.address)[-1].found == "none, other keys there: board"


def test_a_board_is_asked(board: Target, yard: Yard) -> None:
    boards = [yard.board(), yard.board()]
    wait_for(yard, 2)
    checks = check_target(board, yard.address)
    assert all(check.ok for check in checks)
    assert named(checks, "boards").found == "2"
    assert checks[-1].name == "device"
    assert checks[-1].found.split(", ")[0] in {each.name for each in boards}
    assert named(checks, "TVM").found in checks[-1].found


def test_a_board_with_another_tvm(board: Target, yard: Yard) -> None:
    name = yard.board(version="0.1").name
    wait_for(yard, 1)
    check = check_target(board, yard.address)[-1]
    assert check.found.startswith(f"board {name} speaks TVM 0.1, allowed: TVM ")
    assert check.fix.startswith("install apache-tvm==")


def test_a_target_that_tvm_refuses(board: Target) -> None:
    broken = board.model_copy(update={"tvm": {"kind": "llwm"}})
    with pytest.raises(TargetError, match="tvm: refused by TVM"):
        check_target(broken)


def test_a_toolchain_without_a_triple_is_this_machines(board: Target) -> None:
    target = board.model_copy(update={"toolchain": Toolchain(cuda="11.4")})
    assert [check.name for check in check_target(target)] == ["TVM", "C++ compiler", "tracker"]
