"""``report DIR``: one HTML page of a profile, a search or a training, with nothing outside itself."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from squeezenas_tvm.cli import Result, leave, run_command
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import whole_number

EXAMPLE = (
    "squeezenas-tvm report results/local-cpu\n"
    "squeezenas-tvm report results/search-local-cpu --out page.html\n"
    "squeezenas-tvm report results/search-local-cpu --serve --port 8080"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="what profile, search or train wrote")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="the page (default DIR/report.html)")
    parser.add_argument(
        "--serve",
        action="store_true",
        help="write no file: show the page at an address of this machine alone, and anew whenever files in "
        "DIR change, until Ctrl-C",
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help="of that address (default: one that is free, as with 0)"
    )


def _port(text: str) -> int:
    return whole_number(text, 0, 65535)


def execute(args: argparse.Namespace) -> Result:
    """Read the folder, write the page; or serve it until Ctrl-C."""
    if args.serve:
        return _serve(args)
    if args.port is not None:
        raise UsageError("--port is of a page that is served; add --serve")
    from squeezenas_tvm.reports.write import write_report

    written = write_report(args.folder, args.out)
    report, page = written.report, written.page
    document = {"kind": written.kind, "folder": str(args.folder), "page": str(page), **report.document}
    size_kb = page.stat().st_size / 1e3
    return Result(document=document, text=f"{report.title}: {report.summary}\nPage: {page}, {size_kb:.0f} kB")


def _serve(args: argparse.Namespace) -> Result:
    """Until Ctrl-C."""
    from squeezenas_tvm.reports.live import serve_page

    for name, given in (("--out", args.out is not None), ("--json", args.json)):
        if given:
            raise UsageError(f"{name} and --serve do not go together; leave one of them out")
    serve_page(args.folder, args.port or 0)
    return Result(document={"folder": str(args.folder)}, text=f"{args.folder} is no longer served")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("report", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
