"""``table``: a device's measurements in one file, or its schedules in TVM's form, from here or elsewhere."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from squeezenas_tvm.cli import Result, leave, run_command
from squeezenas_tvm.errors import UsageError

EXAMPLE = (
    "squeezenas-tvm table export results/jetson-xavier --out xavier.zip\n"
    "squeezenas-tvm table import xavier.zip\n"
    "squeezenas-tvm predict net.onnx --target jetson-xavier\n"
    "squeezenas-tvm table export results/jetson-xavier --tvm-database tuned"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("action", choices=["export", "import"], help="write such a file, or take one in")
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="what profile wrote; of an import without --tvm-database what export wrote",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="of export: the .zip file; of import: a new folder (default results/TARGET)",
    )
    parser.add_argument(
        "--tvm-database",
        type=Path,
        metavar="DIR",
        help="instead of a file, a database of TVM's MetaSchedule: export writes there the fastest schedules "
        "that it can hold, import takes schedules from there for the next profile to try",
    )
    parser.add_argument("--target", help="the target's file, where it is not one that ships")
    parser.add_argument(
        "--measurements",
        action="store_true",
        help="of export: also measurements.sqlite, all that was ever measured, with the schedules",
    )


def execute(args: argparse.Namespace) -> Result:
    """Write or read the file, or the database."""
    if args.tvm_database:
        return _tvm_database(args)
    from squeezenas_tvm.profiling.shared_table import export_table, import_table
    from targets import load_target
    from targets.support.commands import command_line

    if args.action == "export":
        if args.target:
            raise UsageError(f"--target {args.target}: the table says its own; it is for import")
        if args.out is None:
            raise UsageError(f"give --out FILE.zip: where to write what is in {args.path}")
        shared = export_table(args.path, args.out, measurements=args.measurements)
        next_line = command_line("table", "import", shared.file)
    else:
        if args.measurements:
            raise UsageError("--measurements is for export; an import takes what is there")
        shared = import_table(args.path, args.out, load_target(args.target) if args.target else None)
        own = ("--table", shared.folder) if args.out else ()
        next_line = command_line(
            "predict", "NETWORK", "--target", args.target or shared.provenance.target, *own
        )
    told = shared.provenance
    document = {"file": str(shared.file), "folder": str(shared.folder), **told.model_dump(mode="json")}
    lines = [
        f"{told.target}: {told.rows} kernels, measured on {told.machine or 'an unnamed machine'}",
        f"{', '.join(told.files)}",
        f"written: {shared.file if args.action == 'export' else shared.folder}",
        f"next: {next_line}",
    ]
    return Result(document=document, text="\n".join(lines))


def _tvm_database(args: argparse.Namespace) -> Result:
    """``--tvm-database``: schedules, written or taken in."""
    from squeezenas_tvm.profiling import tvm_database
    from targets import load_target

    if args.out or args.measurements:
        raise UsageError("--tvm-database is a folder for schedules alone: leave --out and --measurements out")
    target = load_target(args.target) if args.target else None
    if args.action == "export":
        written = tvm_database.export_schedules(args.path, args.tvm_database, target)
        name, schedules, document = written.target, written.schedules, vars(written)
        faster = f"{len(written.faster)} of them run faster here by what is no trace: a tile, or the default"
        left_out = f"left out: {written.left_out_text}"
        lines = [faster] * bool(written.faster) + [left_out] * bool(written.left_out)
        lines.append(f"written: {args.tvm_database}, which TVM opens by JSONDatabase(work_dir=...)")
    else:
        taken = tvm_database.import_schedules(args.path, args.tvm_database, target)
        name, schedules, document = taken.target, taken.schedules, vars(taken)
        lines = [f"skipped: {taken.skipped_text}"] * bool(taken.skipped or taken.unmatched)
        lines.append("their latencies are told by others, and no table counts them")
        lines.append(f"next: profile once more into {args.path}, which tries and times the fastest")
    first = f"{name}: {sum(schedules.values())} schedules of {len(schedules)} kernels"
    return Result(document={"folder": str(args.path), **document}, text="\n".join([first, *lines]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("table", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
