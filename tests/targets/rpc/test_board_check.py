"""What a host asks of a board before it believes its numbers; the board is a real server on this machine."""

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from targets import (
    BoardReading,
    DeviceUnavailable,
    Fleet,
    NoBoardLeft,
    Session,
    Target,
    UnfitBoard,
    WrongDevice,
    load_target,
    open_session,
)
from targets.local_machine import cpu_flags
from targets.rpc.board_check import check_board, check_processor

from ..boards import KEY, BoardFiles, serving
from ..conftest import LONG_S, Yard, wait_until

ADVICE = (
    "allowed for test-board: MODE_30W; switch it there (sudo nvpmodel -m NUMBER), or give the target's "
    "variant or a file of your own for that mode"
)


def check(session: Session, target: Target) -> tuple[str | None, BoardReading | None]:
    """Of a board that has a GPU of compute capability 8.7; all else of it is real."""
    gpu = SimpleNamespace(exist=True, compute_version="8.7")
    return check_board(target, session.board, session.remote, gpu)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> BoardFiles:
    return BoardFiles(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def name(files: BoardFiles, whole_yard: Yard) -> Iterator[str]:
    with serving(files.path, whole_yard.address) as name:
        yield name


@pytest.fixture
def board(files: BoardFiles) -> Iterator[BoardFiles]:
    yield files
    files.set(mode="MODE_30W", gpu_mhz=612)


@pytest.fixture(scope="module")
def target(files: BoardFiles) -> Target:
    return load_target(files.path)


def as_test_board(target: Target) -> Target:
    """Another target, for the boards of the tests' key."""
    return target.model_copy(update={"rpc": target.rpc.model_copy(update={"key": KEY})})


def test_a_board_that_fits_tells_its_state(
    board: BoardFiles, target: Target, whole_yard: Yard, name: str
) -> None:
    with open_session(target, whole_yard.address, wait_s=LONG_S) as session:
        first = session.reading
        board.set(mode="MODE_30W", gpu_mhz=306)
        session.read()
        assert first is not None
        assert session.reading is not None
        assert session.board == name
    assert (first.power_mode, first.clocks_mhz) == ("MODE_30W", {"gpu": 612.0})
    assert session.reading.clocks_mhz == {"gpu": 306.0}


def test_another_power_mode_is_refused(
    board: BoardFiles, target: Target, whole_yard: Yard, name: str
) -> None:
    board.set(mode="MODE_15W", gpu_mhz=420)
    line = f"board {name} is in power mode MODE_15W, {ADVICE}"
    with pytest.raises(WrongDevice) as caught, open_session(target, whole_yard.address, wait_s=LONG_S):
        pass
    assert (str(caught.value), caught.value.exit_code) == (line, 1)
    assert isinstance(caught.value, UnfitBoard)
    assert isinstance(caught.value, DeviceUnavailable)
    with pytest.raises(WrongDevice) as caught, Fleet(target, whole_yard.address, wait_s=600.0):
        pass
    assert str(caught.value) == line


def test_a_power_mode_that_is_changed_in_the_middle_ends_the_boards_work(
    board: BoardFiles, target: Target, whole_yard: Yard, name: str
) -> None:
    with Fleet(
        target, whole_yard.address, probe=lambda session: 0.001, wait_s=LONG_S, probe_every_s=0.1
    ) as fleet:
        assert fleet.submit(lambda session: session.board, timeout_s=5.0).result(LONG_S).value == name
        board.set(mode="MAXN", gpu_mhz=1300)

        def is_refused() -> bool:
            fleet.submit(lambda session: session.board, timeout_s=5.0)
            return fleet.boards()[0].state == "set aside"

        assert wait_until(is_refused)
        (state,) = fleet.boards()
        assert state.reason == f"board {name} is in power mode MAXN, {ADVICE}"
        assert state.first is not None
        assert state.last is not None
        assert (state.first.power_mode, state.last.power_mode) == ("MODE_30W", "MODE_30W")
        late = fleet.submit(lambda session: session.board, timeout_s=5.0)
        with pytest.raises(NoBoardLeft, match=r"is in power mode MAXN.* all results are kept"):
            late.result(LONG_S)


def test_a_fleet_keeps_the_first_reading_and_the_last(
    board: BoardFiles, target: Target, whole_yard: Yard, name: str
) -> None:
    with Fleet(
        target, whole_yard.address, probe=lambda session: 0.001, wait_s=LONG_S, probe_every_s=0.1
    ) as fleet:
        board.set(mode="MODE_30W", gpu_mhz=306)

        def is_read_again() -> bool:
            fleet.submit(lambda session: None, timeout_s=5.0).result(LONG_S)
            last = fleet.boards()[0].last
            return last is not None and last.clocks_mhz == {"gpu": 306.0}

        assert wait_until(is_read_again)
        (state,) = fleet.boards()
        assert state.first is not None
        assert state.first.clocks_mhz == {"gpu": 612.0}


def test_a_board_that_cannot_tell_its_mode_is_reported_once(
    board: BoardFiles, target: Target, whole_yard: Yard, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    board.set(mode=None, gpu_mhz=612)
    for _ in range(2):
        with open_session(target, whole_yard.address, wait_s=LONG_S) as session:
            assert session.reading is not None
            assert session.reading.power_mode is None
    (warning,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning == f"board {name} does not tell its power mode; make sure it is MODE_30W"


def test_a_plain_server_is_used_and_reported(
    target: Target, whole_yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    whole_yard.board()
    plain = target.model_copy(update={"rpc": target.rpc.model_copy(update={"key": "board"})})
    with open_session(plain, whole_yard.address, wait_s=LONG_S) as session:
        assert session.reading is None
    assert f"board {session.board} does not tell its power mode; make sure it is MODE_30W" in caplog.text


def test_a_board_without_cuda_is_reached_and_refused(whole_yard: Yard, name: str) -> None:
    xavier = as_test_board(load_target("jetson-xavier"))
    with pytest.raises(WrongDevice) as caught, open_session(xavier, whole_yard.address, wait_s=LONG_S):
        pass
    assert str(caught.value) == (
        f"board {name} was reached, but offers no CUDA device, which jetson-xavier needs; "
        "install a TVM runtime with CUDA there (see docs/jetson.md), and check its driver"
    )


def test_a_board_tells_the_flags_of_its_processor(target: Target, whole_yard: Yard, name: str) -> None:
    with open_session(target, whole_yard.address, wait_s=LONG_S) as session:
        assert session.cpu_flags == cpu_flags()


def test_a_processor_without_what_the_code_needs_is_refused(
    target: Target, whole_yard: Yard, name: str
) -> None:
    """Before any module is sent, which would die there with an illegal instruction."""
    here = cpu_flags()
    if "sse2" not in here:
        pytest.skip("no x86 processor")
    unusual = ("amx-tile", "fma4", "avx512vp2intersect")
    absent = next(name for name in unusual if name.replace("-", "_") not in here)
    other = target.model_copy(update={"tvm": {"kind": "llvm", "num-cores": 1, "mattr": [f"+{absent}"]}})
    with pytest.raises(WrongDevice) as caught, open_session(other, whole_yard.address, wait_s=LONG_S):
        pass
    assert str(caught.value).startswith(
        f"board {name} lacks {absent} of the processor that test-board is built for (mcpu "
    )
    assert str(caught.value).endswith(f"or with mattr [-{absent}]")


def test_an_arm_board_of_an_older_kind_is_refused(target: Target) -> None:
    told = "fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm"
    flags = told.split()
    check_processor(load_target("jetson-xavier"), "xavier:1", flags)
    with pytest.raises(WrongDevice) as caught:
        check_processor(load_target("jetson-orin"), "xavier:1", flags)
    assert str(caught.value) == (
        "board xavier:1 lacks dotprod, rcpc of the processor that jetson-orin is built for (mcpu cortex-a78)"
        "; give the target of that board, or a file of your own with its mcpu, "
        "or with mattr [-dotprod, -rcpc]"
    )


def test_another_gpu_is_refused(target: Target, whole_yard: Yard, name: str) -> None:
    with open_session(target, whole_yard.address, wait_s=LONG_S) as session:
        with pytest.raises(WrongDevice) as caught:
            check(session, load_target("jetson-xavier"))
        _, reading = check(session, load_target("jetson-orin"))  # this GPU; the power mode is also Orin's
    assert str(caught.value) == (
        f"board {name} has a GPU of architecture sm_87, allowed for jetson-xavier: sm_72; give the target of "
        "that board, or register it under another key"
    )
    assert reading is not None
    assert reading.power_mode == "MODE_30W"


def test_features_of_one_architecture_do_not_make_it_another(
    tmp_path: Path, target: Target, whole_yard: Yard, name: str
) -> None:
    host = {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}
    own = target.model_copy(update={"tvm": {"kind": "cuda", "arch": "sm_87a", "host": host}})
    with open_session(target, whole_yard.address, wait_s=LONG_S) as session:
        version, _ = check(session, own)
    assert version == session.tvm_version
