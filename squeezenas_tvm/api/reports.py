"""Pages for people."""

from collections.abc import Mapping
from pathlib import Path

from search.resolution import Resolution
from targets import PublishedDevice, Target


def write_report(
    what: str | Path,
    out: str | Path | None = None,
    *,
    target: Target | PublishedDevice | None = None,
    resolution: tuple[int, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    table: str | Path | None = None,
) -> Path:
    """One HTML page of what a profile, a search or a training wrote, or of a network; it loads nothing.

    Args:
        what: a folder; with ``target`` an architecture by name or YAML file, or an ONNX file: what it costs
            there and where its time goes.
        out: the page, an .html file; ``report.html`` in the folder, or ``NAME-TARGET.html``, when None.
        resolution: of a network, height and width in pixels; 1024x2048 when None, or what an ONNX file says.
        shapes: of inputs by name, where an ONNX file leaves them open.
        table: folder of the target's table; see ``estimate_latency``.

    Returns:
        The page.

    Raises:
        UsageError, CostModelError, SearchError: a folder of something else, a file that cannot be read,
            a network that latencies cannot be told for, a page that cannot be written.
    """
    from squeezenas_tvm.reports import write

    page = Path(out) if out else None
    if target is None:
        return write.write_report(Path(what), page).page
    size = None if resolution is None else Resolution(*resolution)
    folder = Path(table) if table else None
    return write.write_network_report(what, target, page, resolution=size, shapes=shapes, table=folder).page


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
