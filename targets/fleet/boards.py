"""What a fleet knows of its boards: who is there, who fails, who is slow. No threads, no TVM."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from targets.sensors.readings import BoardReading

PROBES = 3  # of which the fastest counts: one alone may have been disturbed
STRIKES = 3

State = Literal["ready", "busy", "lost", "set aside"]
Phase = Literal["away", "joining", "idle", "busy", "renewing"]


@dataclass(frozen=True, slots=True)
class BoardState:
    """A board as a display shows it.

    Attributes:
        name: ``host:port`` of its RPC server.
        done: pieces of work that came back.
        failures: sessions that hung, died or could not be opened.
        reason: why it is lost or set aside, or what failed last; may be empty.
        probe_s: what the last speed check took; None if there was none.
        first, last: its state when it joined and with the last speed check; None where its server does not
            tell.
    """

    name: str
    state: State
    done: int
    failures: int
    reason: str
    probe_s: float | None
    first: BoardReading | None = None
    last: BoardReading | None = None


@dataclass(eq=False, slots=True)
class Board:
    """One board over all of its sessions. Times are monotonic.

    Attributes:
        phase: what its newest session is at.
        met: it has had a session that was good for work.
        refused: it gets no session any more in this run: wrong version, or it fails where others do not.
        slow: it gets no work until a probe shows it at speed; ``slow_told`` once that has been reported.
        back_by: until when it is to be waited for if it is away.
        strikes: (work, reason) of every failure since something last came back.
        elsewhere: what all other boards had done at the first strike.
        probes: seconds, the newest last; taken at ``probed_at``.
        readings: the first and the last.
    """

    name: str
    phase: Phase = "away"
    met: bool = False
    refused: bool = False
    slow: bool = False
    slow_told: bool = False
    back_by: float = float("-inf")
    done: int = 0
    failures: int = 0
    reason: str = ""
    strikes: list[tuple[object, str]] = field(default_factory=list)
    elsewhere: int = 0
    probes: deque[float] = field(default_factory=lambda: deque(maxlen=PROBES))
    probed_at: float = float("-inf")
    readings: tuple[BoardReading, BoardReading] | None = None

    @property
    def state(self) -> BoardState:
        shown: dict[Phase, State] = {"idle": "ready", "renewing": "ready", "busy": "busy"}
        state = shown.get(self.phase, "lost")
        if self.refused or (self.slow and state != "lost"):
            state = "set aside"
        probe_s = self.probes[-1] if self.probes else None
        first, last = self.readings or (None, None)
        return BoardState(self.name, state, self.done, self.failures, self.reason, probe_s, first, last)

    @property
    def is_up(self) -> bool:
        """It has a session, or gave one back in order a moment ago."""
        return self.phase in ("idle", "busy", "renewing") and not self.refused

    @property
    def is_present(self) -> bool:
        """It is up, or about to be: its speed counts."""
        return self.is_up or self.phase == "joining"

    @property
    def takes_work(self) -> bool:
        return self.is_up and not self.slow

    def is_expected(self, now: float) -> bool:
        """It works, is about to, or is to be waited for."""
        return not self.refused and (self.phase in ("joining", "idle", "busy") or now < self.back_by)


def strike(board: Board, boards: Iterable[Board], work: object, reason: str) -> str | None:
    """Note a failure. Returns the verdict when there is one to be told, at the third in a row or later.

    A board that fails while others get work done is refused from then on. Alone it is kept: the work may be
    bad.
    """
    others = [other for other in boards if other is not board]
    done = sum(other.done for other in others)
    if not board.strikes:
        board.elsewhere = done
    board.failures += 1
    board.reason = reason
    board.strikes.append((work, reason))
    count = len(board.strikes)
    board.refused = count >= STRIKES and done > board.elsewhere and any(other.takes_work for other in others)
    if count != STRIKES and not board.refused:
        return None
    verdict = (
        "it gets no more work in this run, since other boards get theirs done; restart its RPC server"
        if board.refused
        else "it is kept, as no other board does better"
    )
    reasons = "; ".join(reason for _, reason in board.strikes[-STRIKES:])
    return f"board {board.name} failed {count} times in a row ({reasons}): {verdict}"


def faster_than(board: Board, boards: Iterable[Board], factor: float) -> Board | None:
    """The fastest of the other boards, if ``board`` is more than ``factor`` times slower."""
    others = [other for other in boards if other is not board and other.probes]
    if not others or not board.probes:
        return None
    fastest = min(others, key=lambda other: min(other.probes))
    return fastest if min(board.probes) > factor * min(fastest.probes) else None
