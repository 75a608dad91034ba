"""What ``report`` does: one HTML page of a folder or a network, with nothing outside itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cost_models.ir.op import Shape
from search.resolution import Resolution
from squeezenas_tvm.about import __version__
from squeezenas_tvm.bundles.kept_run import PROFILE
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.evaluation.kept import FILE as EVALUATION
from squeezenas_tvm.reports.evaluation import evaluation_report
from squeezenas_tvm.reports.page import Report, page
from squeezenas_tvm.reports.run import run_report
from squeezenas_tvm.reports.search import search_report
from squeezenas_tvm.reports.training import training_report
from targets import PublishedDevice, Target
from targets.support.sealed import HTML, write_sealed
from targets.support.text import printable

PAGE = "report.html"


@dataclass(frozen=True)
class WrittenReport:
    """A page that was written.

    Attributes:
        kind: ``profile``, ``search``, ``training``, ``evaluation``, ``run`` or ``network``.
        page: the file.
        report: what it says.
    """

    kind: str
    page: Path
    report: Report


def write_report(folder: Path, out: Path | None = None) -> WrittenReport:
    """Read the folder, write the page.

    Args:
        folder: what profile, search or train wrote.
        out: the page, an .html file; ``report.html`` in the folder when None.

    Raises:
        UsageError: no such folder, or the page cannot be written.
        InTheWay: another page is there, or ours with changes.
        CostModelError, SearchError: a file in the folder that cannot be read.
    """
    out = _checked(out or folder / PAGE)
    kind, report = report_of(folder)
    return _written(kind, report, out, folder)


def write_network_report(
    name: str | Path,
    target: Target | PublishedDevice,
    out: Path | None = None,
    *,
    resolution: Resolution | None = None,
    shapes: Mapping[str, Shape] | None = None,
    table: Path | None = None,
) -> WrittenReport:
    """Write the page of a network: what it costs on a target, and where its time goes.

    Args:
        name: of an architecture, or a YAML or ONNX file.
        out: the page, an .html file; ``NAME-TARGET.html`` in the current folder when None.
        resolution, shapes, table: as ``reports.predicted`` takes them.

    Raises:
        UsageError: no such network, or the page cannot be written.
        InTheWay: another page is there, or ours with changes.
        InvalidGraph, SearchError, CostModelError: what cannot be read, or told.
    """
    from squeezenas_tvm.reports.predicted import predicted_report

    out = _checked(out or Path(f"{Path(name).stem}-{target.name}.html"))
    report = predicted_report(name, target, resolution, shapes, table)
    return _written("network", report, out, name)


def _checked(out: Path) -> Path:
    if out.suffix not in (".html", ".htm"):
        raise UsageError(f"--out {out}: must end in .html")
    return out


def _written(kind: str, report: Report, out: Path, source: str | Path) -> WrittenReport:
    try:
        write_sealed({out: page_text(report, source)}, "name another place with --out", HTML)
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be written ({error.strerror}); name another place with --out"
        ) from None
    return WrittenReport(kind, out, report)


def report_of(folder: Path) -> tuple[str, Report]:
    """What a folder is, and what is to be said of it. Raises what ``write_report`` does."""
    kind = _kind(folder)
    return kind, _report(kind, folder)


def page_text(report: Report, source: str | Path, version: str = "") -> str:
    """The page, without control characters.

    Args:
        source: what it is of.
        version: of one that is served.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="minutes")
    made = f"squeezenas_tvm {__version__}, from {source}, {now}"
    return printable(page(report, made, version), kept="\n\t")


def _kind(folder: Path) -> str:
    """``profile``, ``search``, ``training``, ``evaluation``, ``run``. Raises UsageError for any other."""
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
    if (folder / EVALUATION).exists():
        return "evaluation"
    if (folder / PROFILE).exists():
        return "run"
    if (folder / "manifest.json").exists():
        raise UsageError(
            f"{folder}: a bundle; give the folder of `run {folder} FILE --profile --out DIR`, which tells "
            "where its time goes"
        )
    if (folder / "measurements.sqlite").exists():
        raise UsageError(
            f"{folder}: a profile that has not ended, without a table; the same profile command goes on and "
            "writes it (what predict --calibrate measured there is used)"
        )
    raise UsageError(
        f"{folder}: neither a profile (table.json, kernels.csv) nor a search (search.json, curves.csv) nor a "
        "training (best.json, curves.csv) nor an evaluation (evaluation.json) nor a run (profile.json, of "
        "run --profile); give the folder of one"
    )


def _report(kind: str, folder: Path) -> Report:
    if kind == "profile":
        from squeezenas_tvm.reports.profile import profile_report  # loads TVM, which the others do without

        return profile_report(folder)
    if kind == "search":
        return search_report(folder)
    if kind == "evaluation":
        return evaluation_report(folder)
    if kind == "run":
        return run_report(folder)
    return training_report(folder)
