"""The tracker's protocol, spoken to a real tracker."""

import socket
import struct
import threading

import pytest

from targets import Target, TargetError
from targets.rpc.tracker import Grant, Tracker, no_board, tracker_address

from ..conftest import LONG_S, Yard, wait_until


def test_it_tells_which_boards_are_registered(yard: Yard) -> None:
    with Tracker(yard.address) as tracker:
        assert tracker.registered() == []
        yard.board()
        yard.board()
        assert wait_until(lambda: tracker.registered() == ["board", "board"])


def test_each_request_is_granted_one_board(yard: Yard) -> None:
    names = {yard.board().name, yard.board().name}
    with Tracker(yard.address) as first, Tracker(yard.address) as second:
        granted = set()
        for tracker in (first, second):
            tracker.request("board")
            grant = tracker.grant(LONG_S)
            granted.add(grant.board if grant else None)
        assert granted == names
        second.request("board")
        assert second.grant(0.2) is None


def test_a_board_that_comes_later_is_granted_to_who_waits(yard: Yard) -> None:
    with Tracker(yard.address) as tracker:
        tracker.request("board")
        assert tracker.grant(0.1) is None
        board = yard.board()
        grant = tracker.grant(LONG_S)
        assert grant is not None
        assert (grant.host, grant.port, grant.board) == ("127.0.0.1", board.port, board.name)


def test_a_request_is_taken_back_by_closing(yard: Yard) -> None:
    with Tracker(yard.address) as tracker:
        tracker.request("board")
    board = yard.board()
    with Tracker(yard.address) as tracker:
        tracker.request("board")
        grant = tracker.grant(LONG_S)
        assert grant is not None
        assert grant.board == board.name


def test_the_key_to_a_board_is_made_for_one_session() -> None:
    assert Grant("10.0.0.5", 9090, "board:0.1") != Grant("10.0.0.5", 9090, "board:0.2")
    assert Grant("10.0.0.5", 9090, "board:0.1").board == "10.0.0.5:9090"


def test_a_tracker_that_ends_is_an_error_not_silence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = listener.accept()[0]
            connection.sendall(connection.recv(4))
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        with (
            pytest.raises(OSError, match=r"reset|Broken pipe"),
            Tracker(f"127.0.0.1:{listener.getsockname()[1]}") as tracker,
        ):
            tracker.registered()


def test_why_there_is_no_board(yard: Yard) -> None:
    yard.board()
    start = f"no device with key 'other' from tracker {yard.address} after 1.5 s: "
    with Tracker(yard.address) as tracker:
        assert wait_until(lambda: tracker.registered() == ["board"])
    assert str(no_board("other", yard.address, 1.5)) == (
        f"{start}the tracker has these keys: board; start the board's RPC server with that key"
    )
    assert "all of them are busy; wait for them, or register more boards" in str(
        no_board("board", yard.address, 1.5)
    )
    assert str(no_board("other", yard.address, 1.5, TimeoutError("timed out"))) == (
        f"{start}the tracker does not answer; is the address right and the tracker up?"
    )


def test_the_address_is_taken_from_the_targets_variable(
    board_target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TargetError, match="no tracker address; give --tracker HOST:PORT"):
        tracker_address(board_target)
    rpc = board_target.rpc.model_copy(update={"tracker_env": "MY_TRACKER"})
    target = board_target.model_copy(update={"rpc": rpc})
    monkeypatch.delenv("MY_TRACKER", raising=False)
    with pytest.raises(TargetError, match="give --tracker HOST:PORT, or set MY_TRACKER to it"):
        tracker_address(target)
    monkeypatch.setenv("MY_TRACKER", "10.0.0.5:9190")
    assert tracker_address(target) == "10.0.0.5:9190"


def frame(text: bytes) -> bytes:
    return struct.pack("<i", len(text)) + text


@pytest.mark.parametrize(
    "answer",
    [
        frame(b"{"),
        frame(b"[" * 100_000),
        frame(b"\xff\xfe"),
        frame(b"[0, NaN]"),
        frame(b"[0]"),
        frame(b'[0, {"server_info": 3}]'),
        frame(b'[0, ["10.0.0.5", 99999, "key"]]'),
        frame(b'[0, ["10.0.0.5", "9090", "key"]]'),
        struct.pack("<i", -1),
        struct.pack("<i", 2**31 - 1),
    ],
)
def test_answers_of_another_form_are_an_error(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = listener.accept()[0]
            connection.sendall(connection.recv(4) + answer + answer)
            while connection.recv(1 << 16):  # closed with something unread, it would be reset
                pass

        threading.Thread(target=serve, daemon=True).start()
        with Tracker(f"127.0.0.1:{listener.getsockname()[1]}") as tracker:
            with pytest.raises(OSError, match="no TVM tracker"):
                tracker.registered()
            if len(answer) > 4:
                with pytest.raises(OSError, match="no TVM tracker"):
                    tracker.grant(LONG_S)
