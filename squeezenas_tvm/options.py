"""Options that several commands share, and the objects they name; imports only what it is asked for."""

import argparse
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.errors import UsageError

if TYPE_CHECKING:
    from cost_models.table import LatencyTable
    from targets import Target

RESULTS = Path("results")


def add_resolution(parser: argparse.ArgumentParser, default: str) -> None:
    """``--resolution HxW``."""
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        default=default,
        help="height and width of the image, pixels (default %(default)s)",
    )


def trials_count(text: str) -> int:
    """argparse type: a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def results_folder(target: str, out: Path | None = None) -> Path:
    """Where measurements of a target are kept: ``out``, or ``results/TARGET`` in the current folder."""
    return out or RESULTS / Path(target).stem


def check_buildable(target: "Target") -> None:
    """Refuse, before anything long, a target that this release cannot build for.

    Raises UsageError.
    """
    found = target.tvm_target()
    machine = platform.machine()
    if found.kind.name != "llvm" or not str(found.attrs.get("mtriple", machine)).startswith(machine):
        raise UsageError(
            f"target {target.name}: this release builds for {machine} CPUs only, not for "
            f"{found.attrs.get('arch', found.kind.name)}; give --target local-cpu, or a file of such a CPU"
        )


def matching_table(folder: Path, target: "Target") -> "LatencyTable":
    """The latency table in ``folder``, if it is of this target and, for this machine, of this very device.

    Raises IncompatibleTable saying what differs.
    """
    from cost_models.environment import differences, environment
    from cost_models.errors import IncompatibleTable
    from cost_models.table import LatencyTable

    table = LatencyTable.load(folder, target=target.name)
    if target.kind == "local":
        here = environment(target, str(table.fingerprint.get("dtype")))
        if differing := differences(table.fingerprint, here):
            raise IncompatibleTable(
                f"{folder}: was measured in another environment ({', '.join(differing)}); "
                f"profile again: python -m squeezenas_tvm.profile --target {target.name}"
            )
    return table
