"""What is known of devices besides a target: from it a fit to few networks learns how devices are."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from squeezenas_tvm.options import RESULTS

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel
    from cost_models.device_models.prior import Prior
    from targets import Target

_log = logging.getLogger("squeezenas_tvm.other_devices")


def other_devices(
    target: "Target", dtype: str, measured_s: Sequence[float] = ()
) -> "Mapping[str, CostModel]":
    """What costs all kernels: tables with a predictor, and priors calibrated on published latencies.

    Tables are those of ``results/`` in the current folder, else the shipped ones. None is left out for being
    unlike the target: the fit finds that out.

    Args:
        measured_s: latencies on the target. A prior that was calibrated on one of these very numbers is left
            out: it would tell them from memory.
    """
    from cost_models.database.table import HEADER
    from targets import list_targets

    profiled = (path.parent.name for path in RESULTS.glob(f"*/{HEADER}"))
    names = sorted({*list_targets(), *profiled})
    found = {name: find_other(target, name, dtype) for name in names}
    return {
        name: model for name, model in found.items() if model is not None and not _has_seen(model, measured_s)
    }


def _has_seen(model: "CostModel", measured_s: Sequence[float]) -> bool:
    from cost_models.device_models.prior import Prior

    known = model.prior.networks if isinstance(model.prior, Prior) else ()
    return any(math.isclose(network.measured_s, s, rel_tol=1e-6) for network in known for s in measured_s)


def find_other(target: "Target", name: str, dtype: str) -> "CostModel | None":
    """One of ``other_devices`` by its name; None where nothing is known of it, or it cannot be read."""
    from cost_models.errors import CostModelError

    try:
        return _known(name, target.name, dtype)
    except CostModelError as error:
        _log.warning("%s is left out of the fit: %s", name, error)
        return None


def data_sheet(target: "Target", dtype: str) -> "Prior | None":
    """What the target's peaks say of its rates; None where its file has none."""
    from cost_models.device_models.prior import Prior
    from cost_models.errors import CostModelError

    try:
        return Prior.from_peaks(target, dtype)
    except CostModelError:
        return None


def _known(name: str, target: str, dtype: str) -> "CostModel | None":
    """What was measured of a device; of the target itself, what others published.

    Raises CostModelError where a file of it is damaged.
    """
    from cost_models.cost_model import CostModel
    from cost_models.database.table import HEADER, LatencyTable
    from cost_models.device_models.prior import shipped_prior
    from cost_models.kernel_models.predictor import MANIFEST, Predictor
    from cost_models.shipped import shipped_table

    prior = shipped_prior(name)
    if name == target:
        return CostModel(name, prior=prior) if prior else None
    folder = RESULTS / name if (RESULTS / name / HEADER).exists() else shipped_table(name)
    table = LatencyTable.load(folder) if folder else None
    if table is not None and (table.target == target or table.fingerprint.get("dtype") != dtype):
        return None
    predictor = None
    if folder is not None and table is not None and (folder / MANIFEST).exists():
        predictor = Predictor.load(folder, fingerprint=table.fingerprint)
    return CostModel(name, table, predictor, prior) if predictor or prior else None
