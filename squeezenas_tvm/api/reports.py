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


def serve_report(folder: str | Path, port: int = 0) -> None:
    """Serve that page on this machine's loopback, anew whenever files in the folder change, until Ctrl-C.

    Logs its address.

    Args:
        folder: that profile, search or train writes into; it may still be empty.
        port: 0 for one that is free.

    Raises:
        UsageError: no such folder, or the port is taken.
        KeyboardInterrupt: it was asked to end.
    """
    from squeezenas_tvm.reports.live import serve_page

    serve_page(Path(folder), port)
