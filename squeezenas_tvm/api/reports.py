"""Pages for people."""

from pathlib import Path


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """One HTML page of what a profile, a search or a training wrote, with nothing outside itself.

    Args:
        out: the page, an .html file; ``report.html`` in the folder when None.

    Returns:
        The page.

    Raises:
        UsageError, CostModelError, SearchError: a folder of something else, a file that cannot be read,
            a page that cannot be written.
    """
    from squeezenas_tvm.reports import write

    return write.write_report(Path(folder), Path(out) if out else None).page
