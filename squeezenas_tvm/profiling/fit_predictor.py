"""Fits the predictor of a table and tries it on kernels left out, for ``profile`` and ``deploy``."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.terminal.progress import Snapshot, show

if TYPE_CHECKING:
    from cost_models.database.history import History
    from cost_models.database.table import LatencyTable
    from cost_models.ir.fusion import Kernel
    from cost_models.kernel_models.accuracy import Errors
    from cost_models.kernel_models.hold_outs import Fit, HoldOut, Predict
    from cost_models.kernel_models.predictor import Predictor

SEED = 0  # of the hold-outs
_MOST, _KERNELS = 5, 2000  # groups left out of a split, and kernels in all their fits: half a minute


def measured_kernels(table: "LatencyTable", history: "History") -> "tuple[Sequence[Kernel], Sequence[float]]":
    """What a predictor is fitted to: all kernels with samples, whatever their space; seconds of each."""
    from cost_models.ir.fusion import Kernel

    described = history.store.kernels()
    rows = {key: row for key, row in table.rows.items() if row.samples_s}
    kernels = [Kernel.from_description(described[key]) for key in rows]
    return kernels, [row.median_s for row in rows.values()]


def fit_predictor(
    table: "LatencyTable", history: "History", folder: Path, made_by: str
) -> "Predictor | None":
    """Fit all measured rows and save; None where they are too few."""
    from cost_models.kernel_models.predictor import LEAST_KERNELS, Predictor

    kernels, seconds = measured_kernels(table, history)
    if len(kernels) < LEAST_KERNELS:
        return None
    predictor = Predictor.fit(kernels, seconds, table.fingerprint)
    predictor.save(folder, made_by=made_by)
    return predictor


def try_predictor(table: "LatencyTable", history: "History", shown: bool = True) -> "Mapping[str, HoldOut]":
    """Errors of predictors that were fitted without some of the kernels, by what was left out.

    Takes up to half a minute. The larger the table, the fewer groups are tried.

    Args:
        shown: draw how far it is.
    """
    from cost_models.kernel_models.hold_outs import hold_outs

    kernels, seconds = measured_kernels(table, history)
    resolutions = [table.resolutions(kernel) for kernel in kernels]
    most = min(max(_KERNELS // max(len(kernels), 1), 1), _MOST)
    with show("predictor", 0, shown=shown) as display:

        def watch(done: int, total: int, text: str) -> None:
            display.update(Snapshot(title="predictor", total=total, done=done, phase=text))

        fit = _fit(table)
        return hold_outs(kernels, seconds, fit, resolutions=resolutions, seed=SEED, most=most, watch=watch)


def try_on(table: "LatencyTable", history: "History", own: "Collection[Kernel]") -> "Errors | None":
    """Errors of predictors on fifths of a space's measured kernels, each left out once; None if too few.

    Args:
        own: kernels of the space, whether measured or not.
    """
    from cost_models.kernel_models.hold_outs import hold_outs

    kernels, seconds = measured_kernels(table, history)
    found = hold_outs(kernels, seconds, _fit(table), splits=["random"], among=own, seed=SEED)
    return found["random"].overall if "random" in found else None


def _fit(table: "LatencyTable") -> "Fit":
    from cost_models.kernel_models.predictor import Predictor

    def fit(some: "Sequence[Kernel]", some_s: Sequence[float]) -> "Predict":
        return Predictor.fit(some, some_s, table.fingerprint).predict

    return fit
