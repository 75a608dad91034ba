"""``report DIR``: one HTML page of a profile, a search or a training, with nothing outside itself."""

import argparse
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import squeezenas_tvm
from squeezenas_tvm.cli import Result, leave, run_command
from squeezenas_tvm.errors import UsageError

if TYPE_CHECKING:
    from squeezenas_tvm.reports.page import Report

EXAMPLE = (
    "squeezenas-tvm report results/local-cpu\nsqueezenas-tvm report results/search-local-cpu --out page.html"
)
PAGE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="what profile, search or train wrote")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help=f"the page (default DIR/{PAGE})")


def execute(args: argparse.Namespace) -> Result:
    """Read the folder, write the page."""
    from squeezenas_tvm.reports.page import page

    out: Path = args.out or args.folder / PAGE
    if out.suffix not in (".html", ".htm"):
        raise UsageError(f"--out {out}: must end in .html")
    kind = _kind(args.folder)
    report = _report(kind, args.folder)
    now = datetime.now(timezone.utc).isoformat(timespec="minutes")
    text = page(report, f"squeezenas_tvm {squeezenas_tvm.__version__}, from {args.folder}, {now}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be written ({error.strerror}); name another place with --out"
        ) from None
    document = {"kind": kind, "folder": str(args.folder), "page": str(out), **report.document}
    return Result(
        document=document, text=f"{report.title}: {report.summary}\nPage: {out}, {len(text) / 1e3:.0f} kB"
    )


def _kind(folder: Path) -> str:
    """``profile``, ``search`` or ``training``. Raises UsageError for any other folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the one that profile, search or train wrote into")
    curves, columns = folder / "curves.csv", ""
    if curves.is_file():
        columns = curves.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    if (folder / "table.json").exists():
        return "profile"
    if (folder / "search.json").exists() or "temperature" in columns:
        return "search"
    if (folder / "best.json").exists() or "learning_rate" in columns:
        return "training"
    if (folder / "measurements.sqlite").exists():
        raise UsageError(
            f"{folder}: a profile that has not ended, without a table; the same profile command goes on and "
            "writes it"
        )
    raise UsageError(
        f"{folder}: neither a profile (table.json, kernels.csv) nor a search (search.json, curves.csv) nor a "
        "training (best.json, curves.csv); give the folder that one of these commands wrote into"
    )


def _report(kind: str, folder: Path) -> "Report":
    if kind == "profile":
        from squeezenas_tvm.reports.profile import profile_report

        return profile_report(folder)
    if kind == "search":
        from squeezenas_tvm.reports.search import search_report

        return search_report(folder)
    from squeezenas_tvm.reports.training import training_report

    return training_report(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("report", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
