"""Which work goes to which board, and what becomes of both. Passive: `fleet.py` has the threads."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from targets.errors import NoBoardLeft, TargetError, WorkFailed
from targets.fleet.boards import Board, BoardState, faster_than, strike
from targets.rpc.session import Session
from targets.sensors.readings import BoardReading

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What work returned, on which board, and how long it took there."""

    value: T
    board: str
    seconds: float


@dataclass(eq=False, slots=True)
class Job:
    """Work on its way; ``tried`` names the boards on which it cost a session."""

    work: Callable[[Session], Any]
    timeout_s: float
    future: Future[Done[Any]] = field(default_factory=Future)
    tried: list[str] = field(default_factory=list)


class Lost(Exception):
    """A session that is of no more use; ``hung`` if the board may still be at it."""

    def __init__(self, reason: str, *, hung: bool = False, job: Job | None = None) -> None:
        super().__init__(reason)
        self.hung, self.job = hung, job


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The numbers of a fleet, see there. ``expiry_s``: a lost session keeps its board this long."""

    session_s: float
    wait_s: float
    expiry_s: float
    slower_by: float
    probe_every_s: float
    recheck_s: float


class Dispatch:
    """The queue and the boards. Every method may be called from any thread.

    Attributes:
        changed: notified when a waiting thread should look again.
        over: why no more work is taken; None while it is.
    """

    def __init__(self, limits: Limits, probing: bool) -> None:
        self.changed = threading.Condition()  # over a re-entrant lock that guards all below
        self.over: TargetError | None = None
        self._limits, self._probing = limits, probing
        self._queue: deque[Job] = deque()
        # Failed twice when no board was left that is up: its own fault if one comes back, else the boards'.
        self._doubtful: list[tuple[Job, WorkFailed]] = []
        self._boards: dict[str, Board] = {}

    # Work

    def add(self, job: Job) -> None:
        """Queue work. After the last board was lost its future says so. Raises TargetError once closed."""
        with self.changed:
            if self.over is None:
                self._queue.append(job)
                self.changed.notify_all()
                return
        if not isinstance(self.over, NoBoardLeft):
            raise self.over
        job.future.set_exception(NoBoardLeft(str(self.over)))

    def next(self, board: Board, session: Session) -> Job | Literal["probe"] | None:
        """Wait for what the board is to do. None: give the session back."""
        limits = self._limits
        while True:
            with self.changed:
                if self.over or session.age_s > limits.session_s / 2:
                    # said before the board is free, since it may be granted again in the next moment
                    self._move(board, "renewing")
                    board.back_by = time.monotonic() + limits.wait_s
                    return None
                if self.must_probe(board):
                    return "probe"
                job = None if board.slow else self._take(board)
                if job is not None:
                    self._move(board, "busy")
                    return job
                self.changed.wait(min(1.0, limits.recheck_s))

    def _take(self, board: Board) -> Job | None:
        """The oldest job for this board; a second try is for another board if there is one."""
        alone = not any(other.takes_work for other in self._boards.values() if other is not board)
        for job in list(self._queue):
            if alone or board.name not in job.tried:
                self._queue.remove(job)
                if job.tried or job.future.set_running_or_notify_cancel():
                    return job
        return None

    def finish(self, board: Board, job: Job, done: Done[Any]) -> None:
        with self.changed:
            self._move(board, "idle")
            board.done += 1
            board.strikes.clear()
        job.future.set_result(done)

    def fail(self, board: Board, job: Job, reason: str) -> None:
        """It was the work: the board is well."""
        with self.changed:
            self._move(board, "idle")
        job.future.set_exception(WorkFailed(reason))

    def lose(self, board: Board, lost: Lost) -> str | None:
        """A session is gone. Its work gets a second try; returns what is to be told of the board."""
        reason, job = str(lost), lost.job
        with self.changed:
            if board.phase != "joining":  # one that fails whenever it comes back is not waited for
                expiry_s = self._limits.expiry_s if lost.hung else 0.0
                board.back_by = time.monotonic() + expiry_s + self._limits.wait_s
            self._move(board, "away")
            verdict = None if self.over else strike(board, self._boards.values(), job, reason)
            if job is None:
                return verdict
            job.tried.append(board.name)
            if len(job.tried) == 1 and self.over is None:
                self._queue.appendleft(job)
                return verdict
            where = " and ".join(dict.fromkeys(job.tried))
            over, error = self.over, WorkFailed(f"{reason} (tried on {where})")
            for other in self._boards.values():  # it was the work, not the boards
                other.strikes = [entry for entry in other.strikes if entry[0] is not job]
            if over is None and not any(other.takes_work for other in self._boards.values()):
                self._doubtful.append((job, error))
                return verdict
        job.future.set_exception(type(over)(str(over)) if over else error)  # closing costs sessions, too
        return verdict

    def end(self, over: TargetError) -> None:
        """Take no more work, and end what waits: cancelled where a caller may still cancel it."""
        with self.changed:
            self.over = self.over or over
            jobs = [*self._queue, *(job for job, _ in self._doubtful)]
            self._queue.clear()
            self._doubtful.clear()
            self.changed.notify_all()
        for job in jobs:
            if not isinstance(over, NoBoardLeft) and job.future.cancel():
                continue
            if job.tried or job.future.set_running_or_notify_cancel():
                job.future.set_exception(NoBoardLeft(str(over)))

    # Boards

    def boards(self) -> tuple[BoardState, ...]:
        with self.changed:
            return tuple(board.state for _, board in sorted(self._boards.items()))

    def welcome(self, name: str) -> Board | None:
        """The tracker grants this board. None if it is not wanted; the tracker will offer it again."""
        with self.changed:
            board = self._boards.setdefault(name, Board(name))
            if board.refused or board.phase not in ("away", "renewing"):
                return None
            if board.phase == "away":
                self._move(board, "joining")
            return board

    def join(self, board: Board) -> bool:
        """The session is good for work. True if that is news, not the renewal of one given back."""
        with self.changed:
            news = board.phase == "joining"
            board.met = True
            self._move(board, "idle")
            doubtful, self._doubtful = self._doubtful, []
        for job, error in doubtful:
            job.future.set_exception(error)
        return news

    def note(self, board: Board, reading: BoardReading | None) -> None:
        """Keep the first state that a board tells, and the last."""
        if reading is not None:
            with self.changed:
                board.readings = (board.readings[0] if board.readings else reading, reading)

    def refuse(self, board: Board, reason: str) -> None:
        with self.changed:
            board.refused, board.reason = True, reason
            self._move(board, "away")

    def review(self) -> str | None:
        """What became of every board, when none is up or to be waited for any more; else None."""
        now = time.monotonic()
        with self.changed:
            boards = self._boards.values()
            for board in boards:
                if board.phase == "renewing" and now > board.back_by:
                    board.reason = "it did not register again"
                    self._move(board, "away")
            if not any(board.met for board in boards) or any(board.is_expected(now) for board in boards):
                return None
            return "; ".join(f"{board.name} ({board.done} done): {board.reason}" for board in boards)

    def _move(self, board: Board, phase: Any) -> None:
        board.phase = phase
        self.changed.notify_all()

    # Speed

    def must_probe(self, board: Board) -> bool:
        with self.changed:
            if not self._probing:
                return False
            age_s = time.monotonic() - board.probed_at
            if board.slow:
                return age_s > self._limits.recheck_s or self._faster(board) is None
            return age_s > self._limits.probe_every_s and (bool(self._queue) or board.phase != "idle")

    def probed(self, board: Board, seconds: float) -> Board | None:
        """Note a probe; returns the fastest board if this one is too slow beside it."""
        with self.changed:
            board.probes.append(seconds)
            board.probed_at = time.monotonic()
            return self._faster(board)

    def judge(self, board: Board) -> tuple[str, bool] | None:
        """Set a board aside or take it back by its probes.

        Returns what is to be told if that is news, and whether it is a warning that was not given before.
        """
        with self.changed:
            fastest = self._faster(board)
            was_slow, board.slow = board.slow, fastest is not None
            for other in self._boards.values():
                if (
                    other.is_present
                    and not other.slow
                    and faster_than(other, [board], self._limits.slower_by)
                ):
                    other.probed_at = float("-inf")  # before its next work
            self.changed.notify_all()
            if board.slow == was_slow:
                return None
            if fastest is None:
                board.reason = ""
                return f"board {board.name} is at speed again", False
            first, board.slow_told = not board.slow_told, True
            slow_s, fast_s = min(board.probes), min(fastest.probes)
            board.reason = f"{slow_s / fast_s:.2f} times slower than {fastest.name}"
            return (
                f"board {board.name} is {board.reason} (the same kernel takes {slow_s * 1000:.3f} ms, there "
                f"{fast_s * 1000:.3f} ms) and gets no work until it is at speed: set both to the same power "
                "mode, or give it a key and a target of its own",
                first,
            )

    def _faster(self, board: Board) -> Board | None:
        present = [other for other in self._boards.values() if other.is_present]
        return faster_than(board, present, self._limits.slower_by)
