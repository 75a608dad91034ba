"""How far a profile's predictions can be trusted: kernels left out of the predictor, networks timed whole."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cost_models.database.network_records import About, AboutFile, WholeNetwork
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.hold_outs import HoldOut
from cost_models.kernel_models.predictor import Predictor
from cost_models.network_models.network_model import NetworkModel, load_networks
from squeezenas_tvm.profiling.summary import ERRORS, LEFT_OUT, error_cells, network_errors
from squeezenas_tvm.reports.charts import Series, chart, row
from squeezenas_tvm.reports.marks import GREY
from squeezenas_tvm.reports.page import Markup, PageSection, element, join, paragraph, table


def accuracy_section(
    folder: Path,
    predictor: Predictor | None,
    network_model: NetworkModel,
    hold_outs: Mapping[str, Mapping[str, HoldOut]],
) -> PageSection:
    """Args: hold_outs: by the name of the profile that told them, by what was left out."""
    content = [element("h3", "Kernels that were not measured"), *_predictor(predictor)]
    for name, found in hold_outs.items():
        rows = [error_cells(LEFT_OUT.get(split, split), told.overall) for split, told in found.items()]
        content += [paragraph(f"Tried after {name}, on kernels left out of its fit:"), _errors(rows)]
    content += [element("h3", "Whole networks"), *_networks(folder, network_model)]
    return PageSection("Accuracy", join(content))


def _predictor(predictor: Predictor | None) -> Sequence[Markup]:
    if predictor is None:
        return [paragraph("There is no predictor here: only what was measured can be told.")]
    counts = ", ".join(f"{count} {kind}" for kind, count in predictor.counts.items())
    return [
        paragraph(
            f"Told by a predictor fitted to {sum(predictor.counts.values())} kernels ({counts}). Of those "
            "whose channels and map size were left out of the fit, the median error is "
            f"{predictor.errors['median']:.1%}; {predictor.errors['within_10']:.0%} are off by at most 10 %."
        )
    ]


def _errors(rows: Sequence[Sequence[str]]) -> Markup:
    return table(["left out", "count", *ERRORS], rows)


def _networks(folder: Path, model: NetworkModel) -> Sequence[Markup]:
    if model.errors is None or model.plain_errors is None:
        return [paragraph("No network was timed whole: estimates are plain sums of kernels.")]
    measured = load_networks(folder)
    return [
        paragraph(f"Calibrated on {model.origin}."),
        _errors(network_errors(model)),
        _points(measured, model),
        paragraph("Bars are the intervals that are meant to hold nine of ten."),
        paragraph(_composition(model)),
    ]


def _composition(model: NetworkModel) -> str:
    """Of what a network's latency is made, in a sentence."""
    factors = {f"{factor:.2f}" for factor in model.scale.values()}
    kinds = ", ".join(f"{kind} {factor:.2f}" for kind, factor in model.scale.items())
    times = f"times {', '.join(factors)}" if len(factors) == 1 else f"times a factor of its kind ({kinds})"
    more = {
        f"{model.gap_s * 1e6:.3g} µs for each call": model.gap_s,
        f"{model.cold_s_per_byte * 1e12:.3g} ps for each byte that it no longer finds in the cache": (
            model.cold_s_per_byte
        ),
        f"{model.overhead_s * 1e3:.3g} ms for each run": model.overhead_s,
    }
    parts = [f"the time of each kernel alone {times}", *(said for said, spent in more.items() if spent)]
    return f"A network takes {', and '.join(parts)}."


def _points(measured: Sequence[WholeNetwork], model: NetworkModel) -> Markup:
    """What each network was told to take over what it took."""
    pairs = list(zip(measured, model.by_others(), strict=False))
    times_ms = [(own.median_s * 1e3, own.median_s * 1e3 * math.exp(off)) for own, (off, _) in pairs]
    wide = [math.exp(width) for _, (_, width) in pairs]
    told = [
        f"{_named(own.about)}\n"
        f"measured {ms:.3g} ms, estimated {told_ms:.3g} ms ({told_ms / factor:.3g} to {told_ms * factor:.3g})"
        for own, (ms, told_ms), factor in zip(measured, times_ms, wide, strict=True)
    ]
    sums_ms = [(own.median_s * 1e3, own.sum_s * 1e3) for own in measured]
    picture = chart(
        "Estimated against measured latency of networks timed whole",
        [
            Series("plain sum of kernels", sums_ms, "dots", GREY),
            Series(
                "estimate, by the others",
                times_ms,
                "dots",
                uprights=[
                    (told_ms / factor, told_ms * factor)
                    for (_, told_ms), factor in zip(times_ms, wide, strict=True)
                ],
                told=told,
            ),
        ],
        x="measured (ms)",
        y="estimated (ms)",
        diagonal=True,
        logarithmic="xy",
        wide=True,
    )
    return row([picture])


def _named(about: About | AboutFile) -> str:
    if isinstance(about, AboutFile):
        return f"{about.file} at {about.sizes}"
    return f"{about.space} at {about.resolution[0]}x{about.resolution[1]}\n{' '.join(about.blocks)}"


def document(predictor: Predictor | None, model: NetworkModel) -> dict[str, object]:
    """For JSON."""
    return {
        "predictor": dict(predictor.errors) if predictor else None,
        "networks": _shares(model.errors),
        "plain_sums": _shares(model.plain_errors),
    }


def _shares(errors: Errors | None) -> dict[str, float] | None:
    return {"count": errors.count, "mape": errors.mape, "within_10": errors.within_10} if errors else None
