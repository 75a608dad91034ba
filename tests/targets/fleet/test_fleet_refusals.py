"""What a fleet refuses: addresses, time limits, boards of another kind."""

import pytest

from targets import (
    DeviceUnavailable,
    Fleet,
    LocalServer,
    Target,
    TargetError,
    WrongDevice,
    WrongVersion,
    load_target,
)
from targets.rpc.tracker import Tracker

from ..conftest import LONG_S, Yard, nothing, state_of, wait_until


def test_a_time_limit_must_fit_into_a_session(server: LocalServer, local_cpu: Target) -> None:
    with Fleet(local_cpu, server, session_s=10.0) as fleet:
        for timeout_s in (0.0, 6.0):
            with pytest.raises(TargetError) as caught:
                fleet.submit(nothing, timeout_s=timeout_s)
            assert str(caught.value) == (
                f"Fleet.submit: timeout_s is {timeout_s:g}, allowed: above 0 and at most 5, half of "
                "session_s; raise session_s"
            )


def test_no_tracker_at_the_address(board_target: Target) -> None:
    with (
        pytest.raises(
            DeviceUnavailable, match=r"127\.0\.0\.1:1 .*refused; is the address right and the tracker up"
        ),
        Fleet(board_target, "127.0.0.1:1", wait_s=LONG_S),
    ):
        pass


def test_a_tracker_without_the_key(yard: Yard) -> None:
    yard.board()
    with Tracker(yard.address) as tracker:
        assert wait_until(lambda: tracker.registered() == ["board"])
    with (
        pytest.raises(DeviceUnavailable) as caught,
        Fleet(load_target("jetson-xavier"), yard.address, wait_s=0.5),
    ):
        pass
    text = str(caught.value)
    assert text.startswith(f"no device with key 'jetson-xavier' from tracker {yard.address} after 0.")
    assert text.endswith("the tracker has these keys: board; start the board's RPC server with that key")


def test_an_address_that_is_none(board_target: Target) -> None:
    with (
        pytest.raises(TargetError, match="found 'nonsense', allowed: HOST:PORT"),
        Fleet(board_target, "nonsense"),
    ):
        pass


def test_a_board_of_another_tvm_is_refused(yard: Yard, board_target: Target) -> None:
    good, bad = yard.board(), yard.board(version="0.99.0")
    line = f"board {bad.name} speaks TVM 0.99.0, allowed: TVM "
    with Fleet(board_target, yard.address, wait_s=LONG_S) as fleet:
        assert wait_until(lambda: {state.state for state in fleet.boards()} == {"set aside", "ready"})
        assert state_of(fleet, bad).reason.startswith(line)
        assert {fleet.submit(nothing, timeout_s=5.0).result(LONG_S).board for _ in range(5)} == {good.name}


def test_if_no_other_board_is_there_it_says_so_at_once(yard: Yard, board_target: Target) -> None:
    bad = yard.board(version="0.99.0")
    line = f"board {bad.name} speaks TVM 0.99.0, allowed: TVM "
    with pytest.raises(WrongVersion, match=line), Fleet(board_target, yard.address, wait_s=600.0):
        pass


def test_a_board_that_lacks_the_targets_gpu_is_refused(yard: Yard, board_target: Target) -> None:
    xavier = load_target("jetson-xavier").model_copy(update={"rpc": board_target.rpc})
    boards = {yard.board().name, yard.board().name}
    line = r"^board 127\.0\.0\.1:\d+ was reached, but offers no CUDA device, which jetson-xavier needs; "
    with pytest.raises(WrongDevice, match=line) as caught, Fleet(xavier, yard.address, wait_s=600.0):
        pass
    assert str(caught.value).split()[1] in boards
