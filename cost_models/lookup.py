"""Finds what is known of a target: its table, predictor, calibration and prior, and other devices beside it.

What was measured here lies in ``results/`` of the current folder. What comes with the package, measured or
calibrated once, reviewed, and labelled with the machine it is from, lies in a folder named after the target.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.database.environment import DEFAULT_SCHEDULES, differences, environment
from cost_models.database.profiled_networks import ProfiledNetworks
from cost_models.database.published import PublishedTable
from cost_models.database.table import HEADER, LatencyTable
from cost_models.device_models import fitted_device, prior
from cost_models.device_models.fitted_device import FittedDevice
from cost_models.device_models.other_processor import OtherProcessor, load_calibration, processor_of
from cost_models.device_models.prior import Prior
from cost_models.errors import CostModelError, IncompatibleTable
from cost_models.kernel_models.adjustments import OtherType
from cost_models.kernel_models.predictor import MANIFEST, Predictor
from cost_models.network_models.network_model import MODEL, NetworkModel
from targets import PublishedDevice, Target, list_targets, load_target
from targets.support.commands import command_line

RESULTS = Path("results")
_SHIPPED = Path(__file__).parent

_log = logging.getLogger(__name__)


def results_folder(target: str, out: Path | None = None, dtype: str = "float32") -> Path:
    """Where measurements of a target are kept: ``out``, or ``results/TARGET`` in the current folder.

    Other types than float32 have a folder of their own, ``results/TARGET-DTYPE``: it holds one table.
    """
    name = Path(target).stem
    return out or RESULTS / (name if dtype == "float32" else f"{name}-{dtype}")


def shipped_table(target: str) -> Path | None:
    """Folder of the table that comes with the package for the target of this name; None without one."""
    folder = _SHIPPED / target
    return folder if (folder / HEADER).is_file() else None


def shipped_prior(target: str) -> Prior | None:
    """The calibration that comes with the package for the target of this name; None without one."""
    path = _SHIPPED / target / prior.FILE
    return Prior.load(path) if path.is_file() else None


def find_prior(target: Target, dtype: str = "float32") -> Prior:
    """The calibration that comes with the package for a target, or else what its peaks say.

    Raises:
        CostModelError: there is neither.
    """
    return shipped_prior(target.name) or Prior.from_peaks(target, dtype)


def data_sheet(target: Target, dtype: str) -> Prior | None:
    """What the target's peaks say of its rates; None where its file has none."""
    try:
        return Prior.from_peaks(target, dtype)
    except CostModelError:
        return None


def _shipped(target: Target, folder: Path) -> tuple[LatencyTable, OtherProcessor | None]:
    """The shipped table, and how it is of another processor; warns of what it is not."""
    table = LatencyTable.load(folder, target=target.name)
    processor = other_processor(target, table)
    older = table.fingerprint.get("default_schedules") != DEFAULT_SCHEDULES
    _log.warning(
        "%s: this device is not profiled yet; latencies are of the shipped table, measured on %s%s",
        target.name,
        table.machine or "an unnamed machine",
        ", with default schedules older than today's" if older else "",
    )
    if processor:
        calibrate = command_line("predict", "NETWORK", "--target", target.argument, "--calibrate")
        advice = "" if processor.kernels else f"; kernels measured here, in seconds, scale them: {calibrate}"
        _log.warning("%s: %s%s", target.name, processor, advice)
    return table, processor


def other_processor(target: Target, table: LatencyTable) -> OtherProcessor | None:
    """How a table's latencies become those of this machine; None where it is of this machine's processor.

    What ``predict --calibrate`` measured on this processor is in ``results/TARGET`` and counts in any case: a
    system's name for a processor may stand for several.

    Raises:
        IncompatiblePrior: what was measured here cannot be read.
    """
    here = target.local_processor()
    if here is None:
        return None
    there, folder = processor_of(table.fingerprint), results_folder(target.name)
    measured = load_calibration(folder)
    if measured is not None and (measured.here, measured.table) == (here, table.digest()):
        return measured.scale(there)
    if there is not None and there.is_like(here):
        return None
    if measured is not None:
        _log.warning("%s: its calibration is of %s or of another table, and left out", folder, measured.here)
    return OtherProcessor.unmeasured(there, here)


def _matching_table(folder: Path, target: Target) -> LatencyTable:
    """The latency table in ``folder``, if it is of this target and, for this machine, of this very device.

    Raises IncompatibleTable saying what differs.
    """
    table = LatencyTable.load(folder, target=target.name)
    if target.kind == "local":
        here = environment(target, str(table.fingerprint.get("dtype")))
        if differing := differences(table.fingerprint, here):
            raise IncompatibleTable(
                f"{folder}: was measured in another environment ({', '.join(differing)}); "
                f"profile again: {command_line('profile', '--target', target.argument)}"
            )
    return table


def cost_model(target: Target | PublishedDevice, folder: Path | None = None) -> CostModel:
    """Every source there is for a target's latencies; predictor and calibration lie beside the table.

    Args:
        folder: of a table or a fit that must be there; when None, a target without any has its prior alone.
            A published device has the table that comes with it, and no other.

    Raises:
        IncompatibleTable, IncompatiblePredictor, IncompatiblePrior, IncompatibleNetworkModel: one is there
            and cannot be used.
        CostModelError: there is no source at all.
        TargetError: the device is emulated, so that no latency of it means anything.
    """
    if isinstance(target, PublishedDevice):
        if folder is not None:
            raise CostModelError(f"{target.name} has the table that others measured alone; leave --table out")
        return CostModel(target.name, published=PublishedTable.of(target))
    target.require_timings("latencies of networks")
    own = results_folder(target.name, folder)
    if (own / HEADER).exists() or (folder is not None and not (own / fitted_device.FILE).exists()):
        place: Path | None = own
    else:
        place = shipped_table(target.name) if folder is None else None
    if place is None:
        return CostModel(target.name, prior=_prior(target, own))
    if place == own:
        return with_files(_matching_table(own, target), place, _prior(target, own))
    table, processor = _shipped(target, place)
    return with_files(table, place, _prior(target, own), processor)


def typed_folder(target: Target, dtype: str) -> Path | None:
    """Where latencies of a target in another type than float32 were measured or fitted, if anywhere."""
    folder = results_folder(target.name, None, dtype)
    there = any((folder / name).exists() for name in (HEADER, fitted_device.FILE))
    return folder if there and dtype != "float32" else None


def in_type(model: CostModel, dtype: str, target: Target) -> CostModel:
    """The same device in an element type: if another was measured, told by that in wider intervals."""
    prior, known = model.prior, "float32"
    if model.table is not None:
        known = str(model.table.fingerprint.get("dtype"))
    elif isinstance(prior, FittedDevice):
        known = prior.dtype
    if known == dtype:
        return model
    if model.table is None and isinstance(prior, Prior):
        return replace(model, prior=prior.in_type(dtype, target))
    return replace(model, adjustments=(*model.adjustments, OtherType(dtype, known)))


def with_files(
    table: LatencyTable,
    folder: Path,
    told: Prior | FittedDevice | None = None,
    processor: OtherProcessor | None = None,
) -> CostModel:
    """A table with the predictor, the calibration and the networks that lie in its folder, as far as there.

    Raises:
        IncompatiblePredictor, IncompatibleNetworkModel, IncompatibleTable: one is there and cannot be used.
    """
    known = table.fingerprint
    predictor = Predictor.load(folder, fingerprint=known) if (folder / MANIFEST).exists() else None
    calibration = NetworkModel.load(folder, fingerprint=known) if (folder / MODEL).exists() else None
    networks = ProfiledNetworks.in_folder(folder, known).graphs
    return CostModel(table.target, table, predictor, told, calibration, processor, networks=networks)


def _prior(target: Target, folder: Path) -> Prior | FittedDevice | None:
    """The target as fitted to networks that were measured on it, else its prior, else None."""
    path = folder / fitted_device.FILE
    if path.exists():
        return FittedDevice.load(path, partial(find_other, target), target=target.name)
    try:
        return find_prior(target)
    except CostModelError:
        return None


def other_devices(target: Target, dtype: str, measured_s: Sequence[float] = ()) -> Mapping[str, CostModel]:
    """What costs all kernels: tables with a predictor, and priors calibrated on published latencies.

    Tables are those of ``results/`` in the current folder, else the shipped ones. None is left out for being
    unlike the target: the fit finds that out.

    Args:
        measured_s: latencies on the target. A prior that was calibrated on one of these very numbers is left
            out: it would tell them from memory.
    """
    profiled = (path.parent.name for path in RESULTS.glob(f"*/{HEADER}"))
    names = sorted({*list_targets(), *profiled})
    found = {name: find_other(target, name, dtype) for name in names}
    return {
        name: model for name, model in found.items() if model is not None and not _has_seen(model, measured_s)
    }


def _has_seen(model: CostModel, measured_s: Sequence[float]) -> bool:
    known_s = [] if model.prior is None else model.prior.seen_s
    return any(math.isclose(known, s, rel_tol=1e-6) for known in known_s for s in measured_s)


def find_other(target: Target, name: str, dtype: str) -> CostModel | None:
    """One of ``other_devices`` by its name; None where nothing is known of it, or it cannot be read."""
    try:
        return _known(name, target.name, dtype)
    except CostModelError as error:
        _log.warning("%s is left out of the fit: %s", name, error)
        return None


def _known(name: str, target: str, dtype: str) -> CostModel | None:
    """What was measured of a device; of the target itself, what others published.

    Raises CostModelError where a file of it is damaged.
    """
    if name in list_targets() and load_target(name).emulated:
        return None
    published = shipped_prior(name)
    if name == target:
        return CostModel(name, prior=published) if published else None
    folder = RESULTS / name if (RESULTS / name / HEADER).exists() else shipped_table(name)
    table = LatencyTable.load(folder) if folder else None
    if table is not None and (table.target == target or table.fingerprint.get("dtype") != dtype):
        return None
    predictor = None
    if folder is not None and table is not None and (folder / MANIFEST).exists():
        predictor = Predictor.load(folder, fingerprint=table.fingerprint)
    return CostModel(name, table, predictor, published) if predictor or published else None
