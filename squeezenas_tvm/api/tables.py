"""What was measured, for other machines and other tools."""

from pathlib import Path
from typing import TYPE_CHECKING

from targets import Target

if TYPE_CHECKING:
    from squeezenas_tvm.profiling.shared_table import SharedTable
    from squeezenas_tvm.profiling.tvm_database import Exported, Imported


def export_table(folder: str | Path, out: str | Path, *, measurements: bool = False) -> "SharedTable":
    """Write what a profile left in ``folder`` into one file, with provenance and sums.

    Args:
        out: a .zip file; one that an export wrote is replaced.
        measurements: also all that was ever measured there, with the schedules that were tried.

    Raises:
        CostModelError: no table in ``folder``, or a damaged one.
        UsageError, InTheWay: a file that cannot be written.
    """
    from squeezenas_tvm.profiling import shared_table

    return shared_table.export_table(Path(folder), Path(out), measurements=measurements)


def import_table(
    file: str | Path, out: str | Path | None = None, *, target: Target | None = None
) -> "SharedTable":
    """Check what ``export_table`` wrote elsewhere, and put it where tables are looked for.

    Args:
        out: folder for it, which is not there yet; ``results/TARGET`` when None.
        target: that it must be of; the one of its name when None.

    Raises:
        UsageError: no such archive, one of a newer schema, damaged, or with files that no profile writes.
        TargetError: nobody here knows its target.
        CostModelError: of another target, or of another processor than this machine's where it is of that.
        InTheWay: something is at ``out``.
    """
    from squeezenas_tvm.profiling import shared_table

    return shared_table.import_table(Path(file), Path(out) if out else None, target)


def export_schedules(folder: str | Path, database: str | Path, *, target: Target | None = None) -> "Exported":
    """Write the fastest schedules of a profile as TVM's tuner keeps its own (a ``JSONDatabase``).

    Args:
        folder: what a profile wrote, with its measurements.
        database: a folder that is not there, or empty.
        target: of the profile; the one of its name when None.

    Raises:
        UsageError, InTheWay: nowhere to write, or no schedule that TVM's form can hold.
        CostModelError: no profile in ``folder``, or of another environment.
    """
    from squeezenas_tvm.profiling import tvm_database

    return tvm_database.export_schedules(Path(folder), Path(database), target)


def import_schedules(folder: str | Path, database: str | Path, *, target: Target | None = None) -> "Imported":
    """Take in schedules of such a database for the next profile in ``folder`` to try: no seconds of it count.

    Args:
        folder, target: as of ``export_schedules``.
        database: folder that TVM's tuner, or ``export_schedules``, wrote.

    Raises:
        UsageError: no such database, a damaged or too large one, or nothing of use here.
        CostModelError: no profile in ``folder``, or of another environment.
    """
    from squeezenas_tvm.profiling import tvm_database

    return tvm_database.import_schedules(Path(folder), Path(database), target)
