"""The key of boards: how it is kept, what is no key, and that a caller must know it."""

import socket
import struct
from pathlib import Path

import pytest

from targets import TargetError, WrongKey, load_target, open_session
from targets.rpc.key import KeyedListener, key_file, own_key, with_proof

from ..boards import BoardFiles, serving
from ..conftest import LONG_S, Yard

MAGIC = 0xFF271


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


def test_it_is_made_once_for_its_user_alone() -> None:
    shown = with_proof("board:0.1", "127.0.0.1", 9090)
    key = own_key()
    assert with_proof("board:0.1", "127.0.0.1", 9090) == shown
    assert own_key() == key
    assert len(key) == 64
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert list(key_file().parent.iterdir()) == [key_file()]


def test_what_is_shown_is_for_one_session_with_one_server() -> None:
    key = own_key()
    shown = {
        with_proof(*grant)
        for grant in [
            ("board:0.1", "127.0.0.1", 9090),
            ("board:0.2", "127.0.0.1", 9090),
            ("board:0.1", "127.0.0.2", 9090),
            ("board:0.1", "127.0.0.1", 9091),
        ]
    }
    assert len({text.partition("-proof=")[2] for text in shown}) == 4
    assert not any(key in text for text in shown)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("a" * 31, 0o600, "no key of boards; allowed: one line of 32 to 128 digits 0-9a-f"),
        ("", 0o600, "no key of boards"),
        ("g" * 64, 0o600, "no key of boards"),
        ("\u00e4" * 10_000, 0o600, "no key of boards"),
        ("a" * 64, 0o640, "others may read this key of boards; chmod 600 it, or delete it"),
    ],
)
def test_a_file_that_is_no_key_is_refused(text: str, mode: int, said: str) -> None:
    key_file().parent.mkdir(parents=True)
    key_file().write_text(text)
    key_file().chmod(mode)
    for ask in (own_key, lambda: with_proof("board:0.1", "127.0.0.1", 9090)):
        with pytest.raises(TargetError) as caught:
            ask()
        assert str(caught.value).startswith(f"{key_file()}: {said}")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("a file, no folder")
    with pytest.raises(TargetError, match=r"board\.key: no key of boards can be written \(.*\)$"):
        own_key()
    assert with_proof("board:0.1", "127.0.0.1", 9090) == "board:0.1"  # some boards want none


def test_a_caller_of_another_user_is_told_what_to_do(yard: Yard, tmp_path: Path) -> None:
    files = BoardFiles(tmp_path)
    with serving(files.path, yard.address) as name:
        key_file().unlink()  # the caller makes another
        with (
            pytest.raises(WrongKey) as caught,
            open_session(load_target(files.path), yard.address, wait_s=LONG_S),
        ):
            pass
    assert str(caught.value) == (
        f"board {name} wants another key than that of {key_file()} here; start it with board --ssh, which "
        "passes this key, or copy the file to the board and restart its RPC server"
    )


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<ii", MAGIC, 0),
        struct.pack("<ii", MAGIC, -1),
        struct.pack("<ii", MAGIC, 2**31 - 1),
        struct.pack("<ii", MAGIC, 10) + b"client:",
        struct.pack("<ii", MAGIC, 8) + b"\xff" * 8,
        struct.pack("<ii", MAGIC, 8) + b" " * 8,
    ],
)
def test_who_speaks_another_language_is_hung_up_on(said: bytes) -> None:
    listener = KeyedListener(socket.create_server(("127.0.0.1", 0)), "a" * 64, ["127.0.0.1"])
    with listener, socket.create_connection(listener.getsockname()) as caller:
        caller.sendall(said)
        caller.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionRefusedError):
            listener.accept()


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.rpc.key._HEADER_S", 1)
    listener = KeyedListener(socket.create_server(("127.0.0.1", 0)), "a" * 64, ["127.0.0.1"])
    with listener, socket.create_connection(listener.getsockname()), pytest.raises(ConnectionRefusedError):
        listener.accept()
