"""``report DIR``: one HTML page of a profile, a search or a training, with nothing outside itself."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from squeezenas_tvm.cli import Result, leave, run_command

EXAMPLE = (
    "squeezenas-tvm report results/local-cpu\nsqueezenas-tvm report results/search-local-cpu --out page.html"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="what profile, search or train wrote")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="the page (default DIR/report.html)")


def execute(args: argparse.Namespace) -> Result:
    """Read the folder, write the page."""
    from squeezenas_tvm.reports.write import write_report

    written = write_report(args.folder, args.out)
    report, page = written.report, written.page
    document = {"kind": written.kind, "folder": str(args.folder), "page": str(page), **report.document}
    size_kb = page.stat().st_size / 1e3
    return Result(document=document, text=f"{report.title}: {report.summary}\nPage: {page}, {size_kb:.0f} kB")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("report", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
