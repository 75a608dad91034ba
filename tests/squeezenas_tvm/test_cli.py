"""What every command does the same: help, errors, exit codes, output; the check of the siblings."""

import argparse
import errno
import importlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import squeezenas_tvm
from squeezenas_tvm import cli
from squeezenas_tvm.__main__ import main
from squeezenas_tvm.cli import Result, first_process_speaks, run_command, table
from squeezenas_tvm.completion import SHELLS
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.options import seed_number
from targets.support.interrupts import Terminated

ROOT = Path(squeezenas_tvm.__file__).parent.parent
HEAVY = (
    *("tvm", "tvm_ffi", "torch", "xgboost", "scipy", "matplotlib", "onnx", "numpy"),
    *("pydantic", "rich", "yaml", "PIL", "tensorboard", "safetensors", "networkx"),
)


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def add_nothing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="somewhere")


def run(execute: object, *argv: str) -> int:
    return run_command("run", add_nothing, execute, argv, example="squeezenas-tvm run", kept="{out} is kept")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = python("-X", "importtime", "-m", "squeezenas_tvm", *arguments)
    assert done.returncode == 0
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "squeezenas_tvm" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert "usage: squeezenas-tvm" in done.stdout
    assert "example:\n" in done.stdout


def test_help_of_no_command_loads_anything_heavy() -> None:
    """All in one process: what the first ones load would be seen at the later ones, too."""
    done = python(
        "-c",
        "import sys; from squeezenas_tvm.cli import COMMANDS, dispatch\n"
        "for name in COMMANDS:\n"
        "    assert dispatch([name, '--help']) == 0, name\n"
        f"    print(name, *sorted(sys.modules.keys() & {set(HEAVY)}), file=sys.stderr)\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == list(cli.COMMANDS)
    assert done.stdout.count("example:\n") == len(cli.COMMANDS)


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said and summary in said for name, summary in cli.COMMANDS.items())
    assert all(f"\n  squeezenas-tvm {name} " in said for name in ("demo", "predict", "search"))  # what to try


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_names(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--completion", shell]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in cli.COMMANDS)
    assert all(word in said for word in ("--resolution", "jetson-xavier", "squeezenas-lat-small-camvid"))
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"no {shell} here")
    (tmp_path / "script").write_text(said)
    done = subprocess.run(
        [program, "-n", "script"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_as_a_person_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = r"""
        source ./script
        complete=$(complete -p squeezenas-tvm | sed -E 's/.*-F ([^ ]+).*/\1/')
        COMP_WORDS=(squeezenas-tvm deploy --target jet)
        COMP_CWORD=3
        $complete squeezenas-tvm jet --target
        printf '%s\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    given = [word.strip() for word in done.stdout.splitlines()]
    assert "jetson-xavier" in given
    assert all(word.startswith("jet") for word in given)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--completion"], "error: --completion takes the name of a shell: bash, zsh\n"),
        (["--completion", "fish"], "error: --completion fish: allowed: bash, zsh\n"),
    ],
)
def test_other_shells_are_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", ["run"])
def test_command_runs_as_a_module(name: str) -> None:
    done = python("-m", f"squeezenas_tvm.{name}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: squeezenas-tvm {name}" in done.stdout


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    declared = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert declared is not None
    assert capsys.readouterr().out == f"squeezenas-tvm {declared[1]}\n"


def test_unknown_command_suggests_the_near_miss(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profle"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: unknown command 'profle'; did you mean 'profile'? (commands: targets, ")
    assert main(["zzz"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["run"], ["run", "--frobnicate"], ["run", "b", "i", "--out"]])
def test_wrong_arguments_are_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"error: .* \(see squeezenas-tvm run --help\)", line)


@pytest.mark.parametrize("package", ["targets", "cost_models", "search"])
def test_base_errors_of_the_packages_reach_the_user(package: str) -> None:
    name = {"targets": "TargetError", "cost_models": "CostModelError", "search": "SearchError"}[package]
    assert getattr(importlib.import_module(f"{package}.errors"), name).exit_code == 2


@pytest.mark.parametrize(("error", "exit_code"), [(UsageError("no"), 2), (FailedWork("board gone"), 1)])
def test_errors_become_exit_codes(
    error: Exception, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace) -> Result:
        raise error

    assert run(fail) == exit_code
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_bugs_are_not_dressed_up() -> None:
    def fail(args: argparse.Namespace) -> Result:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(fail)


def test_verbose_shows_where_it_failed(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(args: argparse.Namespace) -> Result:
        raise UsageError("no")

    assert run(fail, "--verbose") == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("error: no\n")


def test_ctrl_c_says_what_is_kept() -> None:
    script = (
        "import os, signal, time\nfrom squeezenas_tvm import cli\n"
        "def work(args):\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
        "raise SystemExit(cli.run_command('run', lambda p: p.add_argument('--out', default='here'), work, [],"
        " example='x', kept='{out} is kept'))"
    )
    done = python("-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped: here is kept\n")


def test_what_is_kept_is_asked_once_it_has_stopped(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def work(args: argparse.Namespace) -> Result:
        (tmp_path / "there").touch()
        raise Terminated

    def kept(args: argparse.Namespace) -> str:
        return f"there: {(tmp_path / 'there').exists()}"

    assert cli.run_command("run", add_nothing, work, [], example="squeezenas-tvm run", kept=kept) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM: there: True\n"


@pytest.mark.parametrize(("rank", "notes"), [("0", 4), ("1", 0)])
def test_of_processes_together_the_first_alone_speaks(
    rank: str, notes: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)

    def work(args: argparse.Namespace) -> Result:
        for package in ("squeezenas_tvm", "search", "cost_models", "targets"):
            logging.getLogger(f"{package}.some.part").warning("a note")
        return Result(document={}, text="done")

    def stopped(args: argparse.Namespace) -> Result:
        raise KeyboardInterrupt

    def run_by(execute: Callable[[argparse.Namespace], Result]) -> int:
        with first_process_speaks(execute) as run:
            return run_command("run", add_nothing, run, [], example="squeezenas-tvm run", kept="all")

    assert run_by(work) == 0
    assert capsys.readouterr().err.count("a note\n") == notes
    assert run_by(stopped) == 130
    assert capsys.readouterr().err == ("stopped: all\n" if rank == "0" else "")


def test_result_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    def work(args: argparse.Namespace) -> Result:
        return Result(document={"answer": [1, 2]}, text="one, two\n", exit_code=1)

    assert run(work) == 1
    assert capsys.readouterr().out == "one, two\n"
    assert run(work, "--json") == 1
    assert json.loads(capsys.readouterr().out) == {"answer": [1, 2]}


def test_stdout_holds_the_result_alone(capfd: pytest.CaptureFixture[str]) -> None:
    def work(args: argparse.Namespace) -> Result:
        import ctypes

        sys.stdout.write("from Python\n")
        ctypes.CDLL(None).printf(b"from C\n")
        subprocess.run(["echo", "from a child"], check=True)
        logging.getLogger("cost_models.tuning.kernel_search").info("from a logger")
        return Result(document={"ok": True}, text="ok")

    assert run(work, "--json") == 0
    said = capfd.readouterr()
    assert json.loads(said.out) == {"ok": True}
    for source in ("Python", "C", "a child", "a logger"):
        assert f"from {source}\n" in said.err


def test_reader_that_leaves_is_no_error() -> None:
    script = (
        "import sys\nfrom squeezenas_tvm import cli\n"
        "work = lambda args: cli.Result(document={}, text='line\\n' * 100000)\n"
        "sys.exit(cli.run_command('run', lambda p: None, work, [], example='x', kept='nothing'))"
    )
    # Unbuffered, Python itself overlooks that a large write was cut short.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE


def test_table_aligns_numbers_right() -> None:
    assert table(["name", "ms"], [["a", "9.50"], ["long name", "12.25"]]).splitlines() == [
        "name          ms",
        "---------  -----",
        "a           9.50",
        "long name  12.25",
    ]
    assert table(["name"], []).splitlines() == ["name", "----"]


@pytest.mark.parametrize("hidden_by", ["targets.py", "targets/__init__.py"])
def test_hidden_sibling_is_named(tmp_path: Path, hidden_by: str) -> None:
    other = tmp_path / hidden_by
    other.parent.mkdir(exist_ok=True)
    other.touch()
    script = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import squeezenas_tvm"
    done = python("-c", script, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    named = other if other.name == "targets.py" else other.parent
    assert last.startswith("ImportError: squeezenas_tvm needs its own package 'targets' at ")
    assert f"but {named} hides it; rename that one" in last


def test_missing_sibling_is_named(tmp_path: Path) -> None:
    (tmp_path / "squeezenas_tvm").mkdir()
    for name in ("__init__.py", "about.py"):
        shutil.copy(Path(squeezenas_tvm.__file__).with_name(name), tmp_path / "squeezenas_tvm")
    done = python("-S", "-c", "import squeezenas_tvm", cwd=tmp_path)
    assert "ImportError: squeezenas_tvm needs its package 'targets' at" in done.stderr
    assert "install squeezenas-tvm again" in done.stderr


@pytest.mark.parametrize(("loaded", "said"), [(True, "all of it"), (False, "all of it, torn down")])
def test_a_process_with_tvm_ends_at_once_and_says_all_it_had_to_say(loaded: bool, said: str) -> None:
    script = (
        "import atexit, sys, types\n"
        "from squeezenas_tvm.cli import leave\n"
        "atexit.register(print, ', torn down', end='')\n"
        f"if {loaded}: sys.modules['tvm'] = types.ModuleType('tvm')\n"
        "print('all of it', end='')\n"
        "leave(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, said)


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UsageError("node a\nerror: forged\x1b[2J"), 2, r"error: node a\nerror: forged\x1b[2J"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "long"),
            2,
            "error: long: File name too long; name another path, or see who may use this one, and give the "
            "command again",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", b"b\xe4r"),
            2,
            r"error: b\udce4r: Permission denied",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "disk"),
            1,
            "error: disk: No space left on device; make",
        ),
        (ConnectionResetError("gone"), 1, "error: gone; "),
        (
            UnicodeEncodeError("utf-8", "b\udce4r", 1, 2, "surrogates not allowed"),
            2,
            r"error: b\udce4r: a name",
        ),
    ],
)
def test_whatever_path_is_at_fault_is_told_in_one_line(
    error: Exception, exit_code: int, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace) -> Result:
        raise error

    assert run(fail) == exit_code
    (told,) = capfd.readouterr().err.splitlines()
    assert told.startswith(line)


def test_messages_are_cut(capfd: pytest.CaptureFixture[str]) -> None:
    def warn(args: argparse.Namespace) -> Result:
        logging.getLogger("search").warning("a note\nof %s", "x" * 3_000_000)
        raise UsageError("y" * 3_000_000)

    assert run(warn) == 2
    assert [len(line) for line in capfd.readouterr().err.splitlines()] == [300, 300]


def test_what_is_no_number_is_not_printed_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    def execute(args: argparse.Namespace) -> Result:
        return Result(document={"latency_ms": float("nan")}, text="a\x1b[2J\nb")

    assert run(execute, "--json") == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: not written, since a number in it is none: latency_ms is nan; ")
    assert run(execute) == 0
    assert capfd.readouterr().out == "a\\x1b[2J\nb\n"


@pytest.mark.parametrize("number", ["4294967296", "-1", "9" * 5000, "1e3", ""])
def test_seeds_that_do_not_fit_are_refused(number: str) -> None:
    with pytest.raises(
        argparse.ArgumentTypeError, match="is not a whole number of 0 or more, at most 4294967295"
    ):
        seed_number(number)
    assert seed_number("4294967295") == (1 << 32) - 1


def test_ctrl_c_within_an_import_ends_by_the_exit_code(tmp_path: Path) -> None:
    """CPython would end by the signal: text that was executed, as of a dataclass, was left by Ctrl-C."""
    (tmp_path / "stopped.py").write_text(
        "from squeezenas_tvm.cli import leave\n"
        "try:\n"
        "    exec('raise KeyboardInterrupt')\n"
        "except KeyboardInterrupt:\n"
        "    code = 130\n"
        "leave(code)\n"
    )
    assert python("-m", "stopped", cwd=tmp_path).returncode == 130
