"""What all commands share: the list of them, parsers, errors to exit codes, output.

A command is a module ``squeezenas_tvm/NAME.py`` with ``add_arguments(parser)``, ``execute(args) -> Result``
and ``main(argv) -> int``, which calls :func:`run_command`. It imports at its top only what starts fast: heavy
libraries belong in ``execute``, so that ``--help`` answers at once.

Exit codes: 0 done, 1 failed work, 2 wrong use or input, 130 stopped with Ctrl-C, 141 output's reader left,
143 stopped with SIGTERM.
"""

import argparse
import contextlib
import difflib
import errno
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from squeezenas_tvm.about import SIBLINGS, SUMMARY, __version__
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import whole_number
from squeezenas_tvm.terminal.table import table as table

PROGRAM = "squeezenas-tvm"
COMMANDS = {
    "targets": "list the devices, or describe one of them",
    "board": "on a board: serve its device to commands that run elsewhere",
    "networks": "list the published architectures with MACs, parameters and latency",
    "profile": "measure the candidate blocks of a space on a target",
    "table": "a device's measurements in one file: export and import",
    "train": "train an architecture through the stages of a recipe",
    "evaluate": "accuracy of trained weights, or of a deployed bundle",
    "predict": "latency of architectures or ONNX files on a target, without the device",
    "compare": "networks side by side on a target: latency, accuracy, MACs, memory",
    "search": "find the architecture for a target and a budget, without the device",
    "deploy": "tune and compile an architecture for a target into a bundle",
    "run": "run a bundle on images: overlay, labels, latency",
    "report": "one HTML page of a profile, a search or a training",
    "demo": "the main job from end to end on this machine's CPU",
}

_FIRST = f"""example:
  {PROGRAM} demo --image street.png
      see it work: a published network, compiled for this machine, labels your image
  {PROGRAM} predict net.onnx --target jetson-xavier --resolution 512x1024
      ask what a network costs on a device, without the device; `{PROGRAM} targets` lists them
  {PROGRAM} search --target local-cpu --budget 20ms --data camvid:CamVid --recipe small --out found
      find the network for your device, budget and images; it names what to type next"""

_CTRL_C = 128 + signal.SIGINT

log = logging.getLogger("squeezenas_tvm")
_TRACE = logging.Formatter()
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a command gives back.

    Attributes:
        document: for ``--json``; only what JSON can hold.
        text: for people.
        exit_code: 0, or 1 when the work was done and its outcome is bad (a check found something missing).
    """

    document: Mapping[str, Any] | Sequence[Any]
    text: str
    exit_code: int = 0


class Parser(argparse.ArgumentParser):
    """argparse, except that a fault is a :class:`UsageError` and so one line like every other."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


class _StderrHandler(logging.Handler):
    """Looks ``sys.stderr`` up at each line, so that lines and a progress bar do not tear each other."""

    def emit(self, record: logging.LogRecord) -> None:
        _complain(record.getMessage())
        if record.exc_info:
            sys.stderr.write(_TRACE.formatException(record.exc_info) + "\n")


def build_parser(
    name: str, add_arguments: Callable[[argparse.ArgumentParser], None], *, example: str
) -> argparse.ArgumentParser:
    """The parser of command ``name``: its own arguments and the shared ones. ``example``: lines of shell."""
    lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
    parser = Parser(
        prog=f"{PROGRAM} {name}",
        description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
        epilog=f"example:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    shared = parser.add_argument_group("output")
    shared.add_argument("--json", action="store_true", help="print one JSON document to stdout, nothing else")
    shared.add_argument("-v", "--verbose", action="store_true", help="log more to stderr")
    return parser


def run_command(
    name: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    execute: Callable[[argparse.Namespace], Result],
    argv: Sequence[str] | None = None,
    *,
    example: str,
    kept: str | Callable[[argparse.Namespace], str],
) -> int:
    """Parse, execute, print. Returns the exit code; errors without ``exit_code`` are bugs and pass through.

    Args:
        example: lines of shell for the end of ``--help``.
        kept: what a run stopped with Ctrl-C leaves behind, one phrase, or what finds out when it has stopped;
            ``{option}`` stands for an argument.
    """
    args = None
    try:
        args = build_parser(name, add_arguments, example=example).parse_args(argv)
        _set_up_logging(verbose=args.verbose)
        with _stdout_to_stderr():
            result = execute(args)
        text = _spelled(result, as_json=args.json)
    except SystemExit as stop:  # --help has been printed
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt as stop:
        stop_code = int(getattr(stop, "exit_code", _CTRL_C))
        by = "" if stop_code == _CTRL_C else f" by {signal.Signals(stop_code - 128).name}"
        _complain(f"stopped{by}: {_kept_now(kept, args)}")
        return stop_code
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        return failed(error, code)
    return result.exit_code if emit(text) else 141


def _kept_now(kept: str | Callable[[argparse.Namespace], str], args: argparse.Namespace | None) -> str:
    if args is None:
        return "nothing was started"
    return kept.format_map(vars(args)) if isinstance(kept, str) else kept(args)


def _spelled(result: Result, *, as_json: bool) -> str:
    """For stdout. Raises NotFinite."""
    from targets.support.strict_json import json_text
    from targets.support.text import printable

    return json_text(result.document, indent=2) if as_json else printable(result.text, kept="\n\t")


def _exit_code(error: Exception) -> int | None:
    """2 where a path or a name of the user's cannot be used, whoever found out; None for a bug."""
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int):
        return exit_code
    if isinstance(error, OSError):
        return 2 if error.filename is not None and error.errno not in _NO_ROOM else 1
    return 2 if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed" else None


def failed(error: Exception, exit_code: int) -> int:
    """Tell of it in one line; returns the code."""
    log.debug("where it was raised", exc_info=error)
    said = str(error)
    if isinstance(error, OSError) and not hasattr(error, "exit_code"):
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        advice = "make room" if error.errno in _NO_ROOM else "name another path, or see who may use this one"
        said = f"{place}{error.strerror or error}; {advice}, and give the command again"
    elif isinstance(error, UnicodeEncodeError):
        said = f"{error.object}: a name that is no UTF-8; name another path"
    _complain(f"error: {said}")
    return exit_code


@contextlib.contextmanager
def first_process_speaks(
    execute: Callable[[argparse.Namespace], Result],
) -> Iterator[Callable[[argparse.Namespace], Result]]:
    """``execute``, and in the block stdout, for one process of a job that torchrun may have started::

        with first_process_speaks(execute) as run:
            return run_command(name, add_arguments, run, ...)

    Results, notes and progress are the first one's to tell. Errors are everybody's: torchrun ends the others
    as soon as one has failed, maybe before the first one has said why.
    """
    if os.environ.get("RANK", "0") == "0":
        yield execute
        return

    def silent(args: argparse.Namespace) -> Result:
        for package in ("squeezenas_tvm", *SIBLINGS):
            logging.getLogger(package).setLevel(logging.ERROR)
        try:
            return execute(args)
        except KeyboardInterrupt:
            raise SystemExit(_CTRL_C) from None

    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        yield silent


def dispatch(argv: Sequence[str]) -> int:
    """``COMMAND ARGUMENTS...`` to the command's module. Returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        return 0 if emit(_overview()) else 141
    if argv[0] == "--version":
        return 0 if emit(f"{PROGRAM} {__version__}") else 141
    name = argv[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        _complain(f"error: unknown command {name!r}{hint} (commands: {', '.join(COMMANDS)})")
        return 2
    module = importlib.import_module(f"squeezenas_tvm.{name}")
    return int(module.main(argv[1:]))


def positive_int(text: str) -> int:
    """argparse type: a whole number from 1 to 2147483647."""
    return whole_number(text, 1, (1 << 31) - 1)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        f"usage: {PROGRAM} COMMAND ...\n\n{SUMMARY}\n\n{_FIRST}\n\ncommands:\n{commands}\n\n"
        f"Each has --help: {PROGRAM} run --help. {PROGRAM} --version; {PROGRAM} --completion bash|zsh.\n"
    )


def leave(code: int) -> NoReturn:
    """End the process with this exit code: at once where TVM is loaded.

    A thread that still waits for a device inside TVM would be torn down there with the interpreter, and C++
    answers that with an abort.

    CPython ends by SIGINT, whatever the code, if Ctrl-C went through an ``exec`` of text (each ``dataclass``
    that is imported is one), be it handled or not; the next ``exec`` makes it forget that.
    """
    exec("")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader has left, or it is closed
            stream.flush()
    if "tvm" in sys.modules:
        os._exit(code)
    sys.exit(code)


def _set_up_logging(*, verbose: bool) -> None:
    handler = _StderrHandler()
    for package in ("squeezenas_tvm", *SIBLINGS):
        logger = logging.getLogger(package)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.DEBUG if verbose else logging.INFO)
        logger.propagate = False  # a library that sets up the root logger must not double our lines


def _complain(line: str) -> None:
    """Where every message leaves: one line of bounded length, whatever names from files are in it."""
    from targets.support.text import one_line

    sys.stderr.write(one_line(line.strip()) + "\n")


def emit(text: str) -> bool:
    """Write the result. False when the reader has gone (``| head``), which is no error of ours."""
    try:
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at exit: give it a place where that works.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep stdout for the result. The descriptor too: C++ code and child processes write to that."""
    import ctypes

    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # else what C printed is still buffered, and lands in the result
        os.dup2(saved, 1)
        os.close(saved)
