"""``profile --from-networks``: a target from a few networks that somebody has measured on it, anyhow."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.device_models.fitted_device import FILE, FittedDevice
from cost_models.lookup import data_sheet, other_devices
from squeezenas_tvm.profiling.measured_networks import read_networks
from targets import Target
from targets.support.document import is_document
from targets.support.files import refuse_others


@dataclass(frozen=True)
class FittedTarget:
    """A target that was fitted to networks measured on it.

    Attributes:
        fitted: what every other command estimates with.
        others: devices that it was compared with, by name.
        notes: sentences on networks that were measured several times.
        path: of the saved fit.
    """

    fitted: FittedDevice
    others: Mapping[str, CostModel]
    notes: tuple[str, ...]
    path: Path


def fit_target(
    target: Target, measured: Path, folder: Path, *, dtype: str = "float32", made_by: str
) -> FittedTarget:
    """Fit the target to the networks of a CSV file, and save what every other command then estimates with.

    Args:
        measured: see ``measured_networks.read_networks``.
        folder: of the target's results.
        made_by: how to do it again, for whoever reads the file.

    Raises:
        UsageError: names every fault of the CSV file.
        CostModelError: the networks tell nothing, or the fit cannot be written.
        InTheWay: a file that is no fit has its name.
    """
    path = folder / FILE
    if not is_document(path):
        refuse_others([path], "move it away, or give another folder with --out")
    networks, notes = read_networks(measured)
    others = other_devices(target, dtype, [network.seconds for network in networks])
    fitted = FittedDevice.fit(
        target.name,
        networks,
        others,
        measured=f"{measured.name}, {date.today().isoformat()}",
        start=data_sheet(target, dtype),
        dtype=dtype,
    )
    fitted.save(path, made_by=made_by)
    return FittedTarget(fitted, others, tuple(notes), path)
