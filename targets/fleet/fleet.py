"""Every board under a target's key at work side by side; one that vanishes costs only what it was at.

    recruiter ──request──> tracker ──grant──> a thread for each session: connect, probe, work, ..., close
        ^                                       │ gives the board back, or loses it
        └───────────── the board registers again ┘

Nothing here waits for TVM without a time limit (`Session.within`). When one is over, a local server is
restarted; a real board itself ends the session when that is ``session_s`` old, and registers again.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from targets.errors import DeviceUnavailable, NoBoardLeft, TargetError, UnfitBoard
from targets.fleet.boards import PROBES, Board, BoardState
from targets.fleet.dispatch import Dispatch, Done, Job, Limits, Lost
from targets.rpc.local_server import LocalServer, local_rpc, parse_address
from targets.rpc.local_tracker import LocalGrant
from targets.rpc.session import NoAnswer, Session, reason_of
from targets.rpc.tracker import Grant, no_board, place_name, tracker_address, tracker_at
from targets.target import Target

_CONNECT_S = 20.0
_HEALTH_S = 5.0
_POLL_S = 0.1
_PAUSE_S = 1.0
_CLOSE_S = 5.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class Fleet:
    """Boards that take work from one queue, from ``__enter__`` (which waits for the first) to ``__exit__``.

    Args:
        tracker: HOST:PORT, or a server from `local_rpc`. Without it a board's tracker is taken from the
            variable that the target names, and for a local target a server is started and stopped here.
        probe: runs a reference kernel and returns its seconds. With it, boards that are much slower than the
            fastest are set aside until they are at speed again. Run when a board joins, before work if the
            last one is older than ``probe_every_s``, and every ``recheck_s`` on a board that is set aside.
        session_s: no session gets older than this; none begins work in its second half.
        wait_s: how long to wait for the first board, and for the return of boards when all are lost.
        on_event: told in one line, from any thread, what happens to boards.

    Raises:
        DeviceUnavailable: no tracker, or no board in time, or none that fits the target.
        TargetError: no address, or not of the form HOST:PORT.
    """

    def __init__(
        self,
        target: Target,
        tracker: str | LocalServer | None = None,
        *,
        probe: Callable[[Session], float] | None = None,
        session_s: float = 300.0,
        wait_s: float = 30.0,
        on_event: Callable[[str], None] | None = None,
        probe_every_s: float = 60.0,
        recheck_s: float = 30.0,
    ) -> None:
        self.target = target
        self._tracker, self._probe, self._on_event = tracker, probe, on_event
        local = isinstance(tracker, LocalServer) or (tracker is None and target.kind == "local")
        self._limits = Limits(
            session_s=session_s,
            wait_s=wait_s,
            expiry_s=0.0 if local else session_s,
            slower_by=target.rpc.slower_by,
            probe_every_s=probe_every_s,
            recheck_s=recheck_s,
        )
        self._dispatch = Dispatch(self._limits, probe is not None)
        self._registered = 0  # boards under the key when one was last refused
        self._tracker_error: OSError | None = None
        self._unfit: UnfitBoard | None = None
        self._threads: list[tuple[threading.Thread, Board | None]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Fleet":
        if self._dispatch.over is not None:
            raise self._dispatch.over
        with contextlib.ExitStack() as stack:
            self._place = self._find_place(stack)
            self.target.tvm_target()
            stack.callback(self._close)
            self._start(self._recruit, None)
            self._wait_for_first()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what has not begun, give all boards back, and stop what was started here.

        A board in the middle of work is not waited for: it is given back when that ends.
        """
        self._stack.close()

    def submit(self, work: Callable[[Session], T], *, timeout_s: float) -> Future[Done[T]]:
        """Queue work for the next free board. It may run twice, if its board is lost in the middle.

        The future raises WorkFailed when the work raised though its board is well, or when it hung or cost
        the session on two tries, on two boards where there are two; and NoBoardLeft.

        Args:
            timeout_s: the longest it may take on a board, at most half of ``session_s``.

        Raises:
            TargetError: another ``timeout_s``, or the fleet is closed.
        """
        longest_s = self._limits.session_s / 2
        if not 0 < timeout_s <= longest_s:
            raise TargetError(
                f"Fleet.submit: timeout_s is {timeout_s:g}, allowed: above 0 and at most {longest_s:g}, half "
                "of session_s; raise session_s"
            )
        job = Job(work, timeout_s)
        self._dispatch.add(job)
        return job.future

    def cancel(self) -> None:
        """Take no more work, and let every future that is not done raise TargetError."""
        self._dispatch.end(TargetError("the fleet is closed; open another"))

    def boards(self) -> tuple[BoardState, ...]:
        """Every board that was ever granted, by name."""
        return self._dispatch.boards()

    def _find_place(self, stack: contextlib.ExitStack) -> str | LocalServer:
        """Where boards are requested; a server that is started here stops with the stack."""
        if self._tracker is None and self.target.kind == "local":
            return stack.enter_context(local_rpc(self.target.rpc.key, self.target.emulated_gpu))
        place = self._tracker or tracker_address(self.target)
        if isinstance(place, str):
            parse_address(place)
        return place

    # The recruiter

    def _recruit(self) -> None:
        """Always have one request open at the tracker; find out when no board is left."""
        key, dispatch = self.target.rpc.key, self._dispatch
        while dispatch.over is None:
            try:
                with tracker_at(self._place, min(_CONNECT_S, self._limits.wait_s)) as tracker:
                    self._tracker_error = None
                    tracker.request(key)
                    while dispatch.over is None:
                        if grant := tracker.grant(_POLL_S):
                            self._welcome(grant)
                            tracker.request(key)
                        self._review()
            except OSError as error:
                with dispatch.changed:
                    self._tracker_error = error
                    dispatch.changed.notify_all()
                self._review()
                time.sleep(_POLL_S)

    def _welcome(self, grant: Grant | LocalGrant) -> None:
        board = self._dispatch.welcome(grant.board)
        if board is None:
            grant.close()
        else:
            self._start(lambda: self._drive(board, grant), board)

    def _review(self) -> None:
        fates = self._dispatch.review()
        if fates is None or self._dispatch.over:
            return
        if self._tracker_error:
            fates += f"; the tracker: {reason_of(self._tracker_error)}"
        text = (
            f"no board is left under key {self.target.rpc.key!r} at {place_name(self._place)}: {fates}; "
            "all results are kept: restart the boards, then the same command goes on"
        )
        self._tell(text)
        self._dispatch.end(NoBoardLeft(text))

    def _wait_for_first(self) -> None:
        start, key = time.monotonic(), self.target.rpc.key
        with self._dispatch.changed:
            while True:
                boards = self._dispatch.boards()
                if any(board.state in ("ready", "busy") for board in boards):
                    return
                left_s = start + self._limits.wait_s - time.monotonic()
                refused = sum(board.state == "set aside" for board in boards)
                if self._tracker_error or left_s <= 0 or 0 < self._registered <= refused:
                    break
                self._dispatch.changed.wait(left_s)
        waited_s = time.monotonic() - start
        if self._unfit:
            raise self._unfit
        reasons = "; ".join(f"board {board.name}: {board.reason}" for board in boards if board.reason)
        if self._tracker_error or not reasons:
            raise no_board(key, self._place, waited_s, self._tracker_error)
        raise DeviceUnavailable.after(
            key, place_name(self._place), waited_s, reasons, "restart the board's RPC server"
        )

    # One session

    def _drive(self, board: Board, grant: Grant | LocalGrant) -> None:
        session = Session(self.target, grant, self._limits.session_s)
        try:
            self._join(board, session)
            while (step := self._dispatch.next(board, session)) is not None:
                if isinstance(step, Job):
                    self._work(board, session, step)
                else:
                    self._check_speed(board, session)
        except UnfitBoard as error:
            session.close()
            self._refuse(board, error)
        except Exception as error:
            self._lose(board, session, error if isinstance(error, Lost) else Lost(reason_of(error)))
        else:
            session.close()

    def _join(self, board: Board, session: Session) -> None:
        try:
            session.within(_CONNECT_S, session.connect)
        except UnfitBoard:
            raise
        except Exception as error:
            raise Lost(f"connecting: {reason_of(error)}", hung=isinstance(error, NoAnswer)) from None
        self._dispatch.note(board, session.reading)
        if self._dispatch.must_probe(board):
            self._check_speed(board, session)
        if self._dispatch.join(board):
            self._tell(f"board {board.name} joined")

    def _work(self, board: Board, session: Session, job: Job) -> None:
        start = time.monotonic()
        try:
            value = session.within(job.timeout_s, lambda: job.work(session))
        except NoAnswer as error:
            raise Lost(reason_of(error), hung=True, job=job) from None
        except BaseException as error:
            reason = reason_of(error)
            self._check_health(session, job, reason)
            self._dispatch.fail(board, job, reason)
        else:
            self._dispatch.finish(board, job, Done(value, board.name, time.monotonic() - start))

    def _check_health(self, session: Session, job: Job, reason: str) -> None:
        """Raises Lost if the session did not outlive what was raised: then the board may be to blame."""
        try:
            session.within(_HEALTH_S, lambda: session.device.sync())
        except Exception as error:
            raise Lost(reason, hung=isinstance(error, NoAnswer), job=job) from None

    def _check_speed(self, board: Board, session: Session) -> None:
        """Probe, again if it looks slow, and set the board aside or take it back; read its state."""
        assert self._probe is not None
        probe = self._probe
        try:
            for _ in range(PROBES):
                seconds = session.within(self._limits.session_s / 4, lambda: probe(session))
                if self._dispatch.probed(board, seconds) is None:
                    break
            session.within(_CONNECT_S, session.read)
        except UnfitBoard:
            raise
        except BaseException as error:
            raise Lost(f"speed check: {reason_of(error)}", hung=isinstance(error, NoAnswer)) from None
        self._dispatch.note(board, session.reading)
        if news := self._dispatch.judge(board):
            text, warn = news
            self._tell(text, logging.WARNING if warn else logging.INFO)

    def _refuse(self, board: Board, error: UnfitBoard) -> None:
        with contextlib.suppress(OSError), tracker_at(self._place) as tracker:
            self._registered = tracker.registered().count(self.target.rpc.key)
        self._unfit = error
        self._dispatch.refuse(board, str(error))
        self._tell(str(error), logging.WARNING)

    def _lose(self, board: Board, session: Session, lost: Lost) -> None:
        joining = board.phase == "joining"
        verdict = self._dispatch.lose(board, lost)
        if self._dispatch.over is None:
            self._tell(f"board {board.name} lost: {lost}")
        if verdict:
            self._tell(verdict, logging.WARNING)
        if lost.hung and isinstance(self._place, LocalServer):
            with contextlib.suppress(DeviceUnavailable):  # it shows in that no board comes back
                self._place.restart()
        elif not lost.hung:
            if joining:
                time.sleep(_PAUSE_S)  # a board is granted again the moment it is free
            session.close()

    # Threads

    def _start(self, run: Callable[[], None], board: Board | None) -> None:
        thread = threading.Thread(target=run, name="fleet", daemon=True)
        with self._dispatch.changed:
            self._threads = [(old, its) for old, its in self._threads if old.is_alive()]
            self._threads.append((thread, board))
            thread.start()

    def _close(self) -> None:
        self.cancel()
        with self._dispatch.changed:
            free = [thread for thread, board in self._threads if board is None or board.phase != "busy"]
        deadline = time.monotonic() + _CLOSE_S
        for thread in free:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _tell(self, text: str, level: int = logging.INFO) -> None:
        log.log(level, "%s", text)
        if self._on_event is not None:
            try:
                self._on_event(text)
            except Exception:  # a display is no reason to stop measuring
                log.exception("on_event failed")
