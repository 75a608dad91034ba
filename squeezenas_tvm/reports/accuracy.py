"""How far a profile's predictions can be trusted: kernels left out of the predictor, networks timed whole."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.hold_outs import HoldOut
from cost_models.kernel_models.predictor import Predictor
from cost_models.network_models.network_model import NetworkModel, load_networks
from squeezenas_tvm.profiling.summary import ERRORS, LEFT_OUT, error_cells
from squeezenas_tvm.reports.charts import Series, chart, row
from squeezenas_tvm.reports.page import Markup, Section, element, join, paragraph, table


def accuracy_section(
    folder: Path,
    predictor: Predictor | None,
    network_model: NetworkModel,
    hold_outs: Mapping[str, Mapping[str, HoldOut]],
) -> Section:
    """Args: hold_outs: by the name of the profile that told them, by what was left out."""
    content = [element("h3", "Kernels that were not measured"), *_predictor(predictor)]
    for name, found in hold_outs.items():
        rows = [error_cells(LEFT_OUT.get(split, split), told.overall) for split, told in found.items()]
        content += [paragraph(f"Tried after {name}, on kernels left out of its fit:"), _errors(rows)]
    content += [element("h3", "Whole networks"), *_networks(folder, network_model)]
    return Section("Accuracy", join(content))


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
    measured_ms = [network.median_s * 1e3 for network in load_networks(folder)]
    sums_ms = [network.sum_s * 1e3 for network in load_networks(folder)]
    told_ms = [ms * math.exp(off) for ms, off in zip(measured_ms, model.left_out, strict=False)]
    points = chart(
        "Estimated against measured latency of networks timed whole",
        [
            Series("plain sum of kernels", list(zip(measured_ms, sums_ms, strict=True)), "dots", 4),
            Series("estimate, by the others", list(zip(measured_ms, told_ms, strict=False)), "dots", 1),
        ],
        x="measured (ms)",
        y="estimated (ms)",
        diagonal=True,
    )
    rows = [
        error_cells("estimates, each left out", model.errors),
        error_cells("plain sums of kernels", model.plain_errors),
    ]
    scale = ", ".join(f"{kind} {factor:.2f}" for kind, factor in model.scale.items())
    return [
        paragraph(f"Calibrated on {model.origin}."),
        _errors(rows),
        row([points]),
        paragraph(
            f"A network takes {model.overhead_s * 1e3:.3g} ms, each kernel's own time by a factor of its "
            f"kind ({scale}), and {model.cold_s_per_byte * 1e12:.3g} ps for each byte that others moved out "
            "of the cache."
        ),
    ]


def document(predictor: Predictor | None, model: NetworkModel) -> dict[str, object]:
    """For JSON."""
    return {
        "predictor": dict(predictor.errors) if predictor else None,
        "networks": _shares(model.errors),
        "plain_sums": _shares(model.plain_errors),
    }


def _shares(errors: Errors | None) -> dict[str, float] | None:
    return {"count": errors.count, "mape": errors.mape, "within_10": errors.within_10} if errors else None
