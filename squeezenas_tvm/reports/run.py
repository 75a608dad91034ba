"""What ``run --profile`` kept: pictures of the run, and where its time goes, kernel by kernel."""

from pathlib import Path

from cost_models.kernel_models.roofline import PhysicalModel
from squeezenas_tvm.bundles.kept_run import PROFILE, RunProfile, TimedKernel
from squeezenas_tvm.reports.evaluation import embedded
from squeezenas_tvm.reports.page import (
    NONE,
    Markup,
    PageSection,
    Report,
    bar,
    element,
    facts,
    folded,
    join,
    paragraph,
    table,
)
from squeezenas_tvm.reports.rooflines import PlacedKernel, roofline

_LISTED = 15
_PICTURES = 6
_KIND = "kernels"  # all under one roof: the peak knows no kinds
_HEADER = ("kernel", "calls", "ms", "% of kernels", "GMAC/s", "GB/s", "% of roofline")
_SHARE = _HEADER.index("% of kernels")


def run_report(folder: Path) -> Report:
    """Of a folder that ``run --profile`` wrote.

    Raises UsageError: a file is damaged, or of a newer schema.
    """
    told = RunProfile.load(folder / PROFILE)
    kernels_ms = sum(own.median_ms for own in told.kernels)
    figures = [
        (f"{told.whole_ms:.2f} ms", "a run"),
        (f"{sum(k.calls for k in told.kernels)}", "calls of kernels"),
    ]
    about = {
        "Network": told.network,
        "Target": told.target,
        "Takes": ", ".join(told.inputs),
        "Runs": f"medians of {told.runs}",
    }
    sections = [PageSection("What was run", facts(about))]
    if told.overlays:
        sections.append(PageSection("What it saw", _pictures(folder, told)))
    sections.append(PageSection("Where the time goes", _kernels(told, kernels_ms)))
    document = told.model_dump(mode="json", exclude={"schema_version", "made_by"})
    summary = f"{told.whole_ms:.2f} ms a run; {len(told.kernels)} distinct kernels take {kernels_ms:.2f} ms"
    return Report(f"{told.network} for {told.target}", summary, sections, document, figures)


def _pictures(folder: Path, told: RunProfile) -> Markup:
    shown = told.overlays[:_PICTURES]
    figures = [
        element("figure", element("img", src=embedded(folder / name, RunProfile.AGAIN), alt=name))
        for name in shown
    ]
    more = len(told.overlays) - len(shown)
    return join(
        [element("div", *figures, class_="frames"), *([paragraph(f"{more} more lie beside.")] * (more > 0))]
    )


def _kernels(told: RunProfile, kernels_ms: float) -> Markup:
    rest_ms = told.whole_ms - kernels_ms
    said = (
        f"All kernels take {kernels_ms:.3f} ms, each alone under the clock; a run without it takes "
        f"{told.whole_ms:.3f} ms ({rest_ms:+.3f} ms)."
    )
    rows = [_row(own) for own in told.kernels]
    parts = [paragraph(said), _picture(told), table(_HEADER, rows[:_LISTED])]
    if others := told.kernels[_LISTED:]:
        share = sum(own.share for own in others)
        parts.append(folded(f"{len(others)} others take {share:.0%}", table(_HEADER, rows[_LISTED:])))
    if peaks := told.peaks:
        rates = f"{peaks.macs_per_s / 1e9:.1f} GMAC/s and {peaks.bytes_per_s / 1e9:.1f} GB/s"
        explained = (
            f"The roofline is the least time at {rates}, when each byte moves once ({peaks.source}). What "
            "lies in a cache is not held by the latter."
        )
        parts.append(paragraph(explained))
    return join(parts)


def _row(own: TimedKernel) -> list[str]:
    def rate(amount: int | None) -> str:
        return NONE if amount is None else f"{amount * own.calls / own.median_ms / 1e6:.1f}"

    reached = NONE if own.roofline_ms is None else f"{100 * own.roofline_ms / own.median_ms:.0f}"
    cells = [own.kernel, str(own.calls), f"{own.median_ms:.3f}", f"{100 * own.share:.1f}"]
    cells[_SHARE] = bar(own.share, cells[_SHARE])
    return [*cells, rate(own.macs), rate(own.bytes_moved), reached]


def _picture(told: RunProfile) -> Markup:
    if told.peaks is None:
        return Markup()
    placed = [
        PlacedKernel(
            name=own.kernel,
            kind=_KIND,
            macs=own.macs or 0,
            bytes_moved=own.bytes_moved or 0,
            seconds=own.median_ms / 1e3 / own.calls,
            calls=own.calls,
            share=own.share,
            how="timed in a run",
        )
        for own in told.kernels
    ]
    peaks = told.peaks
    model = PhysicalModel(
        costs_s={}, rates={_KIND: peaks.macs_per_s}, bandwidth=peaks.bytes_per_s, overhead_s=0.0
    )
    return roofline(placed, model, "all kernels'")
