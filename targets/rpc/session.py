"""One caller's hold on a device: a TVM RPC session that is always given back.

TVM waits for a device for ever, and when an object of the session is released it does so with Python's global
lock held: then the whole process stands still. So every session has its socket at hand, to cut the connection
when a call takes too long, and a time limit on it that the kernel keeps.
"""

import concurrent.futures
import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from targets.errors import DeviceUnavailable, TargetError
from targets.rpc.board_check import ask_cpu_flags, check_board, check_processor, check_state
from targets.rpc.local_server import LocalServer, local_rpc
from targets.rpc.local_tracker import LocalGrant
from targets.rpc.tracker import Grant, no_board, place_name, tracker_address, tracker_at
from targets.sensors.readings import BoardReading
from targets.target import Target

_GRACE_S = 2

T = TypeVar("T")
log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """A call to a device did not come back in time."""


class Session:
    """A device of its own from `connect` to `close`. Made by `open_session` and by `Fleet`.

    A lost session shows as the exception of the call that it hit, of whatever type TVM has for it; its
    modules, functions and arrays are dead then.

    Attributes:
        target: what is at the other end.
        board: the name of the board, ``host:port`` of its RPC server.
        scratch: what work wants to find again on this session, such as argument tensors; emptied with it.
        tvm_version: the board's; None where its server does not tell.
        cpu_flags: of the board's processor; none where its server does not tell.
        reading: the board's state when it was connected or last read; None where its server does not tell.
    """

    def __init__(self, target: Target, grant: Grant | LocalGrant, timeout_s: float) -> None:
        self.target, self.board = target, grant.board
        self.scratch: dict[str, Any] = {}
        self.tvm_version: str | None = None
        self.cpu_flags: frozenset[str] = frozenset()
        self.reading: BoardReading | None = None
        self._grant, self._timeout_s = grant, timeout_s
        self._device_type = target.tvm_target().get_target_device_type()
        self._remote: Any = None
        self._sockets: list[socket.socket] = []
        self._uploaded: set[str] = set()
        self._since = time.monotonic()

    @property
    def remote(self) -> Any:
        """The ``tvm.rpc.RPCSession``. Raises TargetError once closed."""
        if self._remote is None:
            raise TargetError(f"session with {self.target.name} at {self.board} is closed; open another")
        return self._remote

    @property
    def device(self) -> Any:
        """The remote ``tvm.runtime.Device`` that fits the target's kind: CPU or GPU 0."""
        return self.remote.device(self._device_type, 0)

    @property
    def age_s(self) -> float:
        """The device ends the session when this reaches the session's time-out, hung or not."""
        return time.monotonic() - self._since

    def connect(self) -> None:
        """Use the grant. A server that is stopped does not answer: call it `within` a time limit.

        Raises:
            RuntimeError: the server is gone or was restarted.
            UnfitBoard: it is not what the target says, or its TVM is not ours.
        """
        self._since = time.monotonic()
        self._remote = self._grant.connect(self._timeout_s)
        self._sockets = self._grant.connections()
        self._limit(self._timeout_s)
        try:
            self.tvm_version, self.reading = check_board(self.target, self.board, self._remote, self.device)
            self.cpu_flags = ask_cpu_flags(self._remote)
            check_processor(self.target, self.board, self.cpu_flags)
        except BaseException:
            self.close()
            raise

    def read(self) -> None:
        """Bring ``reading`` up to date. Raises WrongDevice when the board's power mode was changed."""
        self.reading = check_state(self.target, self.board, self.remote)

    def upload(self, path: str | Path) -> Any:
        """Copy an exported library to the device and load it there; returns the remote module.

        A file of the same name is replaced; the module loaded from it stays usable.
        """
        name = Path(path).name
        if name in self._uploaded:  # TVM would write into the file that is mapped: a crash
            self.remove(name)
        self._uploaded.add(name)
        self.remote.upload(str(path))
        return self.remote.load_module(name)

    def remove(self, name: str) -> None:
        """Delete an uploaded file from the device's folder."""
        self.remote.remove(name)
        self._uploaded.discard(name)

    def within(self, timeout_s: float, function: Callable[[], T]) -> T:
        """What ``function``, which uses this session, returns or raises. The session ends with the time.

        Raises:
            NoAnswer: ``timeout_s`` was not enough; the session is closed as soon as the function ends.
        """
        self._limit(timeout_s)
        try:
            return call_within(timeout_s, function, late=self.close)
        except NoAnswer:
            for connection in self._sockets or self._grant.connections():
                with contextlib.suppress(OSError):  # what waits for it gets an error
                    connection.shutdown(socket.SHUT_RDWR)
            raise

    def close(self) -> None:
        """Give the device back, even while objects of the session are still referenced. May be repeated.

        Not while a call is under way: that would pull the connection from under it. See `within`.
        """
        self._grant.close()
        remote, self._remote = self._remote, None
        if remote is not None:
            with contextlib.suppress(Exception):  # the other end may be gone, which is as good as closed
                remote.get_function("CloseRPCConnection")()
        while self._sockets:
            self._sockets.pop().close()
        self.scratch.clear()  # not earlier: releasing a tensor waits for a device that may be stopped

    def _limit(self, timeout_s: float) -> None:
        """Have the kernel end a wait for the device, a little later than `within` would."""
        limit = struct.pack("ll", int(timeout_s) + _GRACE_S, 0)
        for connection in self._sockets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


@contextlib.contextmanager
def open_session(
    target: Target,
    tracker: str | LocalServer | None = None,
    *,
    timeout_s: float = 600.0,
    wait_s: float = 30.0,
) -> Iterator[Session]:
    """Hold a device of the target's kind for the ``with`` block; it is given back on every way out.

    Args:
        tracker: HOST:PORT, or a server from `local_rpc`. Without it a board's tracker is taken from the
            variable that the target names, and for a local target a server is started and stopped here.
        timeout_s: the device ends the session when it is this old, hung or not; a call in flight then fails.
        wait_s: how long to wait for a device that is busy or not yet registered.

    Raises:
        DeviceUnavailable: no tracker, no device in time, or one with another TVM.
        TargetError: no address, or not of the form HOST:PORT.
    """
    with contextlib.ExitStack() as stack:
        if tracker is None and target.kind == "local":
            tracker = stack.enter_context(local_rpc(target.rpc.key, target.emulated_gpu))
        session = _connected(target, tracker or tracker_address(target), timeout_s, wait_s)
        stack.callback(session.close)
        yield session


def call_within(timeout_s: float, function: Callable[[], T], late: Callable[[], None] | None = None) -> T:
    """What ``function`` returns or raises, called in a daemon thread that is abandoned when time is over.

    Args:
        late: called in that thread if it does come to an end after all.

    Raises:
        NoAnswer: ``timeout_s`` was not enough.
    """
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        error: BaseException | None = None
        try:
            value = function()
        except BaseException as raised:
            log.debug("a call to a device failed", exc_info=True)
            _drop_frames(raised)
            error = raised
        try:
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)
        except concurrent.futures.InvalidStateError:  # cancelled below: nobody waits any more
            if late is not None:
                late()

    threading.Thread(target=run, name="device-call", daemon=True).start()
    try:
        return answer.result(timeout_s)
    except concurrent.futures.TimeoutError:
        if not answer.cancel():  # it came at the last moment, or the function itself raised TimeoutError
            return answer.result()
        raise NoAnswer(f"no answer within {timeout_s:g} s") from None


def _drop_frames(error: BaseException | None) -> None:
    """Frames keep tensors of the device alive, whose release would block whoever drops the error."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _connected(target: Target, place: str | LocalServer, timeout_s: float, wait_s: float) -> Session:
    start = time.monotonic()
    while True:
        left_s = start + wait_s - time.monotonic()
        try:
            with tracker_at(place, max(0.1, left_s)) as tracker:
                tracker.request(target.rpc.key)
                grant = tracker.grant(start + wait_s - time.monotonic())
        except OSError as error:
            raise no_board(target.rpc.key, place, time.monotonic() - start, error) from error
        if grant is None:
            raise no_board(target.rpc.key, place, time.monotonic() - start)
        session = Session(target, grant, timeout_s)
        left_s = start + wait_s - time.monotonic()
        try:
            session.within(max(1.0, left_s), session.connect)
            return session
        except (NoAnswer, RuntimeError) as error:  # the server was stopped, restarted or killed meanwhile
            if time.monotonic() > start + wait_s:
                reason = f"board {grant.board} refused: {reason_of(error)}"
                waited_s, where = time.monotonic() - start, place_name(place)
                raise DeviceUnavailable.after(
                    target.rpc.key, where, waited_s, reason, "restart its RPC server"
                ) from error


def reason_of(error: BaseException) -> str:
    """An exception as one line: the first of a device's long message says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    kind = type(error).__name__
    return text if isinstance(error, NoAnswer | TargetError) or text.startswith(kind) else f"{kind}: {text}"
