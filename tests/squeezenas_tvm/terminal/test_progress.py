"""The display of long work: speed and estimate, plain lines, the live form on a real pseudo-terminal."""

import contextlib
import fcntl
import itertools
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import squeezenas_tvm
from squeezenas_tvm.terminal.progress import Display, Pace, Snapshot, TaskLine, duration, progress, show
from targets.fleet.boards import BoardState

ROOT = Path(squeezenas_tvm.__file__).parent.parent
BEST = TaskLine(
    "conv1x1+relu 16x64x128->96x64x128", best_s=0.000812, default_s=0.001024, trials=24, wanted=64
)
FIRST = TaskLine("dw3x3 8x4x4->8x4x4", default_s=0.5, wanted=64)
UP = BoardState("10.0.0.7:9090", "ready", done=40, failures=0, reason="", probe_s=None)
BUSY = BoardState("10.0.0.8:9090", "busy", done=41, failures=0, reason="", probe_s=0.001)


def snapshot(**changes: object) -> Snapshot:
    values: dict[str, object] = {"title": "profile", "total": 161, "done": 12, "trials": 340}
    return Snapshot(**{**values, **changes})  # type: ignore[arg-type]


# --- pace ---------------------------------------------------------------------------------------------


def test_pace_knows_nothing_at_first() -> None:
    pace = Pace(5.0, {"trials": 0})
    assert (pace.per_minute("trials"), pace.eta_s({"trials": 3})) == (None, None)
    pace.note(7.0, {"trials": 0})
    assert (pace.per_minute("trials"), pace.eta_s({"trials": 3})) == (0.0, None)


def test_pace_leaves_out_what_an_earlier_run_did() -> None:
    pace = Pace(100.0, {"trials": 5000})
    for second in range(1, 11):
        pace.note(100.0 + second, {"trials": 5000 + second})
    assert pace.per_minute("trials") == pytest.approx(60)
    assert pace.eta_s({"trials": 30}) == pytest.approx(30)


def test_speed_is_that_of_the_last_two_minutes() -> None:
    pace = Pace(0.0, {"trials": 0})
    done = 0
    for second in range(1, 601):
        done += 1 if second <= 300 else 3
        pace.note(float(second), {"trials": done})
    assert pace.per_minute("trials") == pytest.approx(180)
    for second in range(601, 601 + 60):  # a board hangs: nothing comes
        pace.note(float(second), {"trials": done})
    assert pace.per_minute("trials") == pytest.approx(90, rel=0.03)


def test_every_kind_of_work_has_its_own_cost() -> None:
    pace = Pace(0.0, {"trials": 0, "timings": 0})
    pace.note(20.0, {"trials": 0, "timings": 10})  # 2 s each
    pace.note(30.0, {"trials": 20, "timings": 10})  # 0.5 s each
    assert pace.eta_s({"trials": 100, "timings": 5}) == pytest.approx(60)
    assert pace.eta_s({"trials": 0, "timings": 0}) == 0.0


def test_work_not_seen_yet_costs_as_much_as_the_rest() -> None:
    pace = Pace(0.0, {"trials": 0, "timings": 0})
    pace.note(20.0, {"trials": 0, "timings": 10})
    assert pace.eta_s({"trials": 7, "timings": 0}) == pytest.approx(14)
    assert pace.eta_s({"whole blocks": 2}) == pytest.approx(4)


def test_the_estimate_follows_boards_that_come_and_go() -> None:
    pace = Pace(0.0, {"trials": 0})
    for trial in range(1, 4001):  # a second each
        pace.note(float(trial), {"trials": trial})
    for trial in range(1, 1001):  # one of two boards is lost
        pace.note(4000.0 + 2 * trial, {"trials": 4000 + trial})
    assert pace.eta_s({"trials": 100}) == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.2, "4 s"), (89, "89 s"), (150, "2 min"), (5400, "1 h 30 min"), (7230, "2 h 0 min")],
)
def test_durations_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said


# --- plain lines --------------------------------------------------------------------------------------


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the logger of the commands gets while stderr is no terminal."""
    logger, found = logging.getLogger("squeezenas_tvm"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    level, before = logger.level, logger.handlers[:]
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    yield found
    logger.handlers[:] = before
    logger.setLevel(level)


def test_plain_lines_say_all_there_is(lines: list[str], clock: Clock) -> None:
    with show("profile", 161, clock=clock) as display:
        clock.now_s += 3725
        display.update(
            snapshot(
                trials_per_minute=61.4,
                eta_s=4300,
                current=(BEST, FIRST, FIRST),
                boards=(UP, BUSY),
                phase="searching anchors",
            )
        )
        clock.now_s += 60
        display.update(snapshot(done=13, trials=341, trials_per_minute=5.26, current=(FIRST,)))
        clock.now_s += 60
    assert lines == [
        "[1:02:05] profile 12/161: searching anchors; 340 trials, 61 a minute, about 72 min left; "
        "conv1x1+relu 16x64x128->96x64x128 0.812 ms (default 1.024) 24/64; 2 more in work; 2 of 2 boards up",
        "[1:03:05] profile 13/161: 341 trials, 5.3 a minute; dw3x3 8x4x4->8x4x4 (default 500.000) 0/64",
        "[1:04:05] profile 13/161, 341 trials, took 64 min",
    ]


def test_plain_lines_get_rarer(lines: list[str], clock: Clock) -> None:
    with show("profile", 161, clock=clock) as display:
        for _ in range(4 * 3600):
            display.update(snapshot())
            clock.now_s += 0.25
    times = [60 * int(line[3:5]) + int(line[6:8]) for line in lines[:-1]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert times[:4] == [0, 5, 10, 15]
    assert all(30 <= gap <= 31 for gap in gaps[20:])
    assert all(later >= earlier - 1 for earlier, later in itertools.pairwise(gaps))  # whole seconds are shown
    assert lines[-1] == "[1:00:00] profile 12/161, 340 trials, took 60 min"


def test_boards_that_are_down_are_counted(lines: list[str], clock: Clock) -> None:
    with show("profile", 2, clock=clock) as display:
        display.update(snapshot(total=2, done=2, eta_s=0.0, boards=(UP, replace(BUSY, state="lost"))))
    assert lines[0] == "[0:00:00] profile 2/2: 340 trials; 1 of 2 boards up"


def test_work_that_fails_leaves_the_last_word_to_its_error(lines: list[str], clock: Clock) -> None:
    def work(display: Display) -> None:
        display.update(snapshot())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), show("profile", 161, clock=clock) as display:
        work(display)
    assert lines == ["[0:00:00] profile 12/161: 340 trials"]


def test_progress_without_a_terminal_is_a_few_lines(lines: list[str]) -> None:
    with progress("run", 500) as step:
        for index in range(500):
            step(f"frame {index}.png")
    assert re.fullmatch(r"\[0:00:00\] run 1/500: about .* left; frame 0.png", lines[0])
    assert re.fullmatch(r"\[0:00:\d\d\] run 500/500, took \d+ s", lines[-1])
    assert len(lines) < 10


def test_plain_lines_reach_a_log_file_among_others(tmp_path: Path) -> None:
    script = (
        "import logging, sys\nfrom squeezenas_tvm import cli\n"
        "from squeezenas_tvm.terminal import progress\n"
        "def work(args):\n"
        "    with progress.show('profile', 2) as display:\n"
        "        logging.getLogger('targets.fleet.fleet').warning('from the fleet')\n"
        "        display.update(progress.Snapshot(title='profile', total=2))\n"
        "    return cli.Result(document={}, text='the result')\n"
        "cli.run_command('run', lambda parser: None, work, [], example='x', kept='x')"
    )
    command = f'{sys.executable} -c "$SCRIPT" 2>&1 | tee {tmp_path / "profile.log"}'
    environment = {**os.environ, "SCRIPT": script}
    subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, check=True, timeout=60)
    stamped = (tmp_path / "profile.log").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"\[\d:\d\d:\d\d\]", "[t]", line) for line in stamped] == [
        "from the fleet",
        "[t] profile 0/2",
        "[t] profile 0/2, took 0 s",
        "the result",
    ]


# --- the live form ------------------------------------------------------------------------------------

PROFILE = """
import logging, os, signal, sys, threading, time
from squeezenas_tvm import cli
from squeezenas_tvm.terminal.progress import Snapshot, TaskLine, show
from targets.fleet.boards import BoardState

def work(args):
    boards = tuple(BoardState(f"10.0.0.{i}:9090", "ready", 10 * i, 0, "", None) for i in range(12))
    down = (*boards[:11], BoardState("10.0.0.11:9090", "lost", 110, 3, "no answer [within] 30 s", 0.1))
    label = "dw3x3 {} of a long label #eae96dfc"
    tasks = tuple(TaskLine(label.format(i), 0.000812, 0.001024, i, 64) for i in range(4))
    with show("profile", 161) as display:
        others = [threading.Thread(target=talk, args=(name,)) for name in "ab"]
        [thread.start() for thread in others]
        for step in range(40):
            display.update(Snapshot(
                title="profile", total=161, done=step, trials=16 * step, trials_per_minute=61.4, eta_s=4300.0,
                current=tasks[: step % 5], boards=boards if step < 20 else down, phase="searching anchors"))
            print("MARK", step, file=sys.stdout)
            time.sleep(0.03)
        [thread.join() for thread in others]
    return cli.Result(document={}, text="done")

def talk(name):
    for index in range(20):
        logging.getLogger("targets.fleet.fleet").info("log %s%d", name, index)
        time.sleep(0.05)

sys.exit(cli.run_command("run", lambda parser: None, work, [], example="x", kept="x"))
"""


class Screen:
    """What a terminal shows after the bytes that rich writes; knows just those control sequences."""

    def __init__(self) -> None:
        self.rows, self.row, self.column = [""], 0, 0

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif not part.startswith("\x1b"):
                before, after = self.rows[self.row].ljust(self.column), self.column + len(part)
                self.rows[self.row] = before[: self.column] + part + before[after:]
                self.column = after
            elif part.endswith("K"):
                self.rows[self.row] = ""
            elif part.endswith("A"):
                self.row -= int(part[2:-1])


def on_terminal(script: str, columns: int, meanwhile: Callable[[int], None] = lambda terminal: None) -> str:
    """What a script writes to a pseudo-terminal of 50 lines, its stderr."""
    terminal, side = pty.openpty()
    resize(terminal, columns)
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    streams = {"stdin": side, "stdout": subprocess.DEVNULL, "stderr": side}
    environment["TERM"] = "xterm-256color"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, env=environment, **streams) as process:  # type: ignore[call-overload]
        os.close(side)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side of a terminal is closed
            while block := os.read(terminal, 4096):
                shown += block
                meanwhile(terminal)
        assert process.wait(timeout=60) == 0, shown.decode()
    os.close(terminal)
    return shown.decode()


def resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))


def test_a_terminal_shows_everything() -> None:
    shown = on_terminal(PROFILE, 120)
    assert "Traceback" not in shown
    screen = Screen()
    screen.feed(shown)
    rows = [row.rstrip() for row in screen.rows]
    text = "\n".join(rows)
    assert re.search(r"^profile +━+.* 39/161$", text, re.M)
    assert re.search(r"^624 trials, 61 a minute, about 72 min left, 0:00:0\d elapsed$", text, re.M)
    assert "searching anchors" in rows
    assert re.search(r"^dw3x3 0 of a long label #eae96dfc +0\.812 ms +\(default 1\.024\) +0/64$", text, re.M)
    assert re.search(r"^10\.0\.0\.11:9090 +lost +110 done +3 failed: no answer \[within\] 30 s$", text, re.M)
    assert text.index("10.0.0.11:9090 ") < text.index("10.0.0.0:9090 ")
    assert "and 4 more" in rows


def test_log_lines_go_above_the_display() -> None:
    screen = Screen()
    screen.feed(on_terminal(PROFILE, 120))
    rows = [row.rstrip() for row in screen.rows]
    top = next(index for index, row in enumerate(rows) if row.startswith("profile "))
    assert sum(row.startswith("profile ") for row in rows) == 1
    talked = [row for row in rows[:top] if row.startswith("log ")]
    assert sorted(talked) == sorted(f"log {name}{index}" for name in "ab" for index in range(20))
    others = [row for row in rows[:top] if not row.startswith(("log ", "MARK "))]
    assert others == []
    assert not [row for row in rows[top:] if "log" in row or "MARK" in row]


@pytest.mark.parametrize("columns", [40, 12])
def test_narrow_terminals(columns: int) -> None:
    shown = on_terminal(PROFILE, columns)
    assert "Traceback" not in shown
    frames = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown)
    assert max(len(line) for line in re.split(r"[\r\n]+", frames)) <= columns
    assert "prof" in frames
    assert "0.812 ms" in frames or columns < 40


def test_terminals_that_are_resized() -> None:
    widths = iter([30, 200, 12, 80] * 1000)
    shown = on_terminal(PROFILE, 120, lambda terminal: resize(terminal, next(widths)))
    assert "Traceback" not in shown
    assert len(re.findall(r"\d+/161", shown)) > 3  # at 12 columns there is no room for it


def test_progress_on_a_terminal_is_a_bar() -> None:
    script = (
        "from squeezenas_tvm.terminal.progress import progress\n"
        "with progress('run', 3) as step:\n    [step(f'frame [{i}].png') for i in range(3)]"
    )
    screen = Screen()
    screen.feed(on_terminal(script, 60))
    rows = [row.rstrip() for row in screen.rows]
    assert re.fullmatch(r"run +━+ +3/3", rows[0])
    assert re.fullmatch(r"0:00:\d\d elapsed", rows[1])
    assert rows[2] == "frame [2].png"


def test_a_dumb_terminal_gets_lines() -> None:
    script = (
        "import os\nos.environ['TERM'] = 'dumb'\nfrom squeezenas_tvm import cli\n"
        "from squeezenas_tvm.terminal import progress\n"
        "cli._set_up_logging(verbose=False)\n"
        "with progress.progress('run', 1) as step:\n    step('one')"
    )
    assert "\x1b" not in on_terminal(script, 60)


def test_nothing_is_shown_unasked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="squeezenas_tvm"):
        with progress("run", 2, shown=False) as step:
            step("a")
        assert caplog.messages == []
        with progress("run", 1) as step:
            step("a")
        assert len(caplog.messages) == 2
