"""How far long work is, on stderr: a display that is redrawn on a terminal, plain lines in a log file.

``progress`` counts the pieces of a loop. ``show`` is for a profile of hours: tasks, trials, boards, the end.
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import RenderableType

    from targets.fleet.boards import BoardState

PLAIN_EVERY_S = 5.0  # between two plain lines at first,
PLAIN_LATER_S = 30.0  # and after three minutes: they fill a log file
WINDOW_S = 120.0  # over which trials a minute are counted
MEMORY_S = 600.0  # work older than about this fades from the estimate: boards come and go
_ROWS = 8  # of tasks and of boards: more would not fit a terminal
_DOWN = ("lost", "set aside")
_STYLES = {"ready": "green", "busy": "cyan", "lost": "bold red", "set aside": "yellow"}

log = logging.getLogger("squeezenas_tvm")


class TaskLine(NamedTuple):
    """A kernel in work: seconds of its fastest schedule so far and of the default one, trials of how many."""

    label: str
    best_s: float | None = None
    default_s: float | None = None
    trials: int = 0
    wanted: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Where a profile stands.

    Attributes:
        done, total: tasks.
        trials: of this run.
        trials_per_minute, eta_s: see :class:`Pace`; None while unknown.
        current: tasks in work, the one that matters most first.
        phase: what is going on, such as ``searching anchors``.
    """

    title: str
    total: int
    done: int = 0
    trials: int = 0
    trials_per_minute: float | None = None
    eta_s: float | None = None
    current: tuple[TaskLine, ...] = ()
    boards: "tuple[BoardState, ...]" = ()
    phase: str = ""


class Pace:
    """Speed and end of long work, from counts and the time at which they were true. It has no clock itself.

    Pieces of work are counted by kind (``trials``, ``timings``, ...). The time between two counts is charged
    to the pieces that were finished meanwhile: each kind gets a cost of its own, and what boards do side by
    side costs less.

    Args:
        now_s: any clock's seconds.
        done: pieces by kind that are done already; they cost nothing, so a resumed run is not rated by them.
    """

    def __init__(self, now_s: float, done: Mapping[str, int]) -> None:
        self._counted, self._charged_to_s = dict(done), now_s
        self._costs: dict[str, tuple[float, float]] = {}  # kind -> seconds, pieces; old ones fade
        self._recent = deque([(now_s, self._counted)])

    def note(self, now_s: float, done: Mapping[str, int]) -> None:
        """All pieces done by now. Call it often, also when nothing was done."""
        new = {kind: count - self._counted.get(kind, 0) for kind, count in done.items()}
        pieces = sum(new.values())
        if pieces:
            each_s = (now_s - self._charged_to_s) / pieces
            for kind, count in new.items():
                old_s, old = self._costs.get(kind, (0.0, 0.0))
                fade = 0.5 if old_s > MEMORY_S else 1.0
                self._costs[kind] = (fade * old_s + count * each_s, fade * old + count)
            self._counted, self._charged_to_s = dict(done), now_s
        if len(self._recent) > 1 and now_s - self._recent[-2][0] < 1.0:
            self._recent.pop()
        self._recent.append((now_s, self._counted))
        while self._recent[1][0] <= now_s - WINDOW_S:
            self._recent.popleft()

    def per_minute(self, kind: str) -> float | None:
        """Pieces of a kind a minute, over the last two minutes; None at the very start."""
        (first_s, first), (last_s, last) = self._recent[0], self._recent[-1]
        if last_s <= first_s:
            return None
        return 60 * (last.get(kind, 0) - first.get(kind, 0)) / (last_s - first_s)

    def eta_s(self, left: Mapping[str, int]) -> float | None:
        """Seconds until what is left, pieces by kind, is done; None while no cost is known.

        A kind of which none was done yet is taken to cost as much as the mean piece.
        """
        pieces = sum(count for _, count in self._costs.values())
        if not pieces:
            return None
        mean_s = sum(seconds for seconds, _ in self._costs.values()) / pieces
        each_s = {kind: seconds / count for kind, (seconds, count) in self._costs.items() if count}
        return sum(count * each_s.get(kind, mean_s) for kind, count in left.items())


class Display:
    """What is shown of a profile; made by `show`. All threads may call it.

    Args:
        lines: write plain lines; otherwise `drawn` is what the terminal shows.
        clock: seconds.
    """

    def __init__(self, title: str, total: int, *, lines: bool, clock: Callable[[], float]) -> None:
        self._shown = Snapshot(title=title, total=total)
        self._lines, self._clock = lines, clock
        self._started_s = clock()
        self._next_line_s = 0.0
        self._task_rows = 0
        self._lock = threading.Lock()

    def update(self, snapshot: Snapshot) -> None:
        """Take in where the work stands; cheap, so often. What happens to boards is the fleet's to tell."""
        with self._lock:
            self._shown = snapshot
            elapsed_s = self._clock() - self._started_s
            due = self._lines and elapsed_s >= self._next_line_s
            if due:
                self._next_line_s = elapsed_s + min(max(PLAIN_EVERY_S, elapsed_s / 6), PLAIN_LATER_S)
        if due:
            log.info("[%s] %s", _clock(elapsed_s), _line(snapshot))

    def close(self) -> None:
        """The last plain line: how much was done and how long it took."""
        if self._lines:
            shown, elapsed_s = self._shown, self._clock() - self._started_s
            trials = f", {shown.trials} trials" if shown.trials else ""
            said = f"{shown.title} {shown.done}/{shown.total}{trials}, took {duration(elapsed_s)}"
            log.info("[%s] %s", _clock(elapsed_s), said)

    def drawn(self) -> "RenderableType":
        """The present state for rich, no line wider than the terminal."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        shown = self._shown
        head = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for ratio in (None, 1, None):
            head.add_column(ratio=ratio, no_wrap=True)
        bar = ProgressBar(total=max(shown.total, 1), completed=shown.done)
        head.add_row(_cell(shown.title, "bold"), bar, _cell(f"{shown.done}/{shown.total}"))
        elapsed = f"{_clock(self._clock() - self._started_s)} elapsed"
        parts: list[RenderableType] = [head, _cell(", ".join([*_speed(shown), elapsed]))]
        if shown.phase:
            parts.append(_cell(shown.phase, "italic"))
        tasks = [_task_cells(task) for task in shown.current[:_ROWS]]
        # A display that shrinks while a log line is printed above it would leave a line behind.
        self._task_rows = max(self._task_rows, len(tasks))
        tasks += [["", "", "", ""]] * (self._task_rows - len(tasks))
        parts += [_grid(tasks, shrinks=0), _grid(_board_rows(shown.boards), shrinks=3)]
        return Group(*parts)


@contextlib.contextmanager
def show(
    title: str, total: int, *, shown: bool = True, clock: Callable[[], float] = time.monotonic
) -> Iterator[Display]:
    """Show a profile of ``total`` tasks: ``with show("profile", 161) as display``, ``display.update(...)``.

    A live display when stderr is a terminal, above which log lines go on; else lines with the time elapsed.
    With ``shown=False`` nothing of either, for programs that use the work of a command.
    """
    live = shown and _on_terminal()
    display = Display(title, total, lines=shown and not live, clock=clock)
    with _live(display) if live else contextlib.nullcontext():
        yield display
        display.close()  # not after an error: that is told in one line


@contextlib.contextmanager
def progress(title: str, total: int, done: int = 0, *, shown: bool = True) -> Iterator[Callable[[str], None]]:
    """Show how far a loop is: ``with progress("run", 12) as step``, ``step("street.png")`` a piece.

    Args:
        done: pieces of a run that is resumed; they cost nothing.
        shown: see `show`.
    """
    pace = Pace(time.monotonic(), {"pieces": done})
    with show(title, total, shown=shown) as display:

        def step(text: str) -> None:
            nonlocal done
            done += 1
            pace.note(time.monotonic(), {"pieces": done})
            eta_s = pace.eta_s({"pieces": total - done})
            current = (TaskLine(text),)
            display.update(Snapshot(title=title, total=total, done=done, eta_s=eta_s, current=current))

        yield step


def duration(seconds: float) -> str:
    """For people: ``42 s``, ``12 min``, ``1 h 30 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _live(display: Display) -> contextlib.AbstractContextManager[object]:
    from rich.console import Console
    from rich.live import Live

    class OneAtATime(Console):
        """rich finds out how far up the display begins, then writes: no other thread may come between."""

        turn = threading.RLock()

        def __enter__(self) -> "OneAtATime":
            self.turn.acquire()
            super().__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            try:
                super().__exit__(*error)
            finally:
                self.turn.release()

    console = OneAtATime(stderr=True)
    live = Live(get_renderable=display.drawn, console=console)
    console.turn = live._lock  # which a refresh takes first: another lock of ours could meet it crosswise
    return live


def _line(shown: Snapshot) -> str:
    parts = [shown.phase, ", ".join(_speed(shown))]
    if shown.current:
        parts.append(" ".join(cell for cell in _task_cells(shown.current[0]) if cell))
        parts.append(f"{len(shown.current) - 1} more in work" if len(shown.current) > 1 else "")
    if shown.boards:
        up = sum(board.state not in _DOWN for board in shown.boards)
        parts.append(f"{up} of {len(shown.boards)} boards up")
    said = "; ".join(part for part in parts if part)
    return f"{shown.title} {shown.done}/{shown.total}" + (f": {said}" if said else "")


def _speed(shown: Snapshot) -> list[str]:
    parts = []
    if shown.trials_per_minute is not None:
        rate = f"{shown.trials_per_minute:.{int(shown.trials_per_minute < 10)}f}"
        parts.append(f"{shown.trials} trials, {rate} a minute")
    elif shown.trials:
        parts.append(f"{shown.trials} trials")
    if shown.eta_s is not None and shown.done < shown.total:
        parts.append(f"about {duration(shown.eta_s)} left")
    return parts


def _task_cells(task: TaskLine) -> list[str]:
    return [
        task.label,
        "" if task.best_s is None else f"{task.best_s * 1e3:.3f} ms",
        "" if task.default_s is None else f"(default {task.default_s * 1e3:.3f})",
        f"{task.trials}/{task.wanted}" if task.wanted else "",
    ]


def _board_rows(boards: "Sequence[BoardState]") -> list[list[str]]:
    """Boards in trouble first; the others may be too many to show."""
    shown = sorted(boards, key=lambda board: board.state not in _DOWN)[:_ROWS]
    rows = [
        [
            board.name,
            board.state,
            f"{board.done} done",
            f"{board.failures} failed{_because(board)}" if board.failures or board.reason else "",
        ]
        for board in shown
    ]
    if len(boards) > len(shown):
        rows.append([f"and {len(boards) - len(shown)} more", "", "", ""])
    return rows


def _grid(rows: Sequence[Sequence[str]], *, shrinks: int) -> "RenderableType":
    """Columns, of which one gives way where the terminal is narrow."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    for index in range(len(rows[0]) if rows else 0):
        grid.add_column(no_wrap=index != shrinks)
    for row in rows:
        grid.add_row(*(_cell(text, _STYLES.get(text, "")) for text in row))
    return grid


def _cell(text: str, style: str = "") -> "RenderableType":
    from rich.text import Text

    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _because(board: "BoardState") -> str:
    return f": {board.reason}" if board.reason else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
