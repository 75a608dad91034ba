"""Options that several commands share, and the objects they name; imports only what it is asked for."""

import argparse
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel
    from cost_models.database.table import LatencyTable
    from cost_models.device_models.fitted_device import FittedDevice
    from cost_models.device_models.prior import Prior
    from targets import Target

RESULTS = Path("results")

_log = logging.getLogger("squeezenas_tvm.options")  # also when run with -m


def add_resolution(parser: argparse.ArgumentParser, default: str) -> None:
    """``--resolution HxW``."""
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        default=default,
        help="height and width of the image, pixels (default %(default)s)",
    )


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """``--dtype``; the target refuses what it does not list."""
    parser.add_argument(
        "--dtype",
        default="float32",
        help="of weights and feature maps: float32, or float16 with sums in float32, where the target lists "
        "it (default %(default)s)",
    )


def add_board(parser: argparse.ArgumentParser) -> None:
    """``--tracker`` and ``--target``, for `bundles.opened.opened_bundle`."""
    parser.add_argument(
        "--tracker",
        metavar="HOST:PORT",
        help="run the bundle on a board: TVM RPC tracker at which that is registered",
    )
    parser.add_argument(
        "--target", help="for --tracker: name or YAML file of the board's target (default: the bundle's)"
    )


def trials_count(text: str) -> int:
    """argparse type: a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def results_folder(target: str, out: Path | None = None, dtype: str = "float32") -> Path:
    """Where measurements of a target are kept: ``out``, or ``results/TARGET`` in the current folder.

    ``target`` is its name, whatever file describes it. Other types than float32 have a folder of their own,
    ``results/TARGET-DTYPE``: it holds one table.
    """
    return out or RESULTS / (target if dtype == "float32" else f"{target}-{dtype}")


def latency_table(target: "Target", folder: Path | None = None) -> "LatencyTable":
    """The table that estimates for a target come from.

    That in ``folder``; else ``results/TARGET`` in the current folder; else the one shipped for the target,
    whatever machine that was measured on: its ``machine`` says, and a warning does.

    Raises IncompatibleTable saying what is wrong with it; for a local target, also one of another machine.
    """
    from cost_models.database.table import HEADER, LatencyTable
    from cost_models.shipped import shipped_table

    own = results_folder(target.name, folder)
    shipped = shipped_table(target.name)
    if folder is not None or shipped is None or (own / HEADER).exists():
        return _matching_table(own, target)
    table = LatencyTable.load(shipped, target=target.name)
    _log.warning(
        "%s: this device is not profiled yet; latencies are of the shipped table, measured on %s",
        target.name,
        table.machine or "an unnamed machine",
    )
    return table


def cost_model(target: "Target", folder: Path | None = None) -> "CostModel":
    """Every source there is for a target's latencies; predictor and calibration lie beside the table.

    Args:
        folder: of a table or a fit that must be there; when None, a target without any has its prior alone.

    Raises:
        IncompatibleTable, IncompatiblePredictor, IncompatiblePrior, IncompatibleNetworkModel: one is there
            and cannot be used.
        CostModelError: there is no source at all.
    """
    from cost_models.cost_model import CostModel
    from cost_models.database.table import HEADER
    from cost_models.device_models.fitted_device import FILE
    from cost_models.kernel_models.predictor import MANIFEST, Predictor
    from cost_models.network_models.network_model import MODEL, NetworkModel
    from cost_models.shipped import shipped_table

    own = results_folder(target.name, folder)
    if (own / HEADER).exists() or (folder is not None and not (own / FILE).exists()):
        place: Path | None = own
    else:
        place = shipped_table(target.name) if folder is None else None
    table = latency_table(target, folder) if place else None
    predictor, network_model = None, NetworkModel()
    if table is not None and place is not None and (place / MANIFEST).exists():
        predictor = Predictor.load(place, fingerprint=table.fingerprint)
    if table is not None and place is not None and (place / MODEL).exists():
        network_model = NetworkModel.load(place, fingerprint=table.fingerprint)
    return CostModel(target.name, table, predictor, _prior(target, own), network_model)


def share_text(shares: Mapping[str, float]) -> str:
    """Whose share of a latency is how large, for people."""
    return ", ".join(f"{share:.0%} {source}" for source, share in shares.items())


def _prior(target: "Target", folder: Path) -> "Prior | FittedDevice | None":
    """The target as fitted to networks that were measured on it, else its prior, else None."""
    from cost_models.device_models.fitted_device import FILE, FittedDevice
    from cost_models.device_models.prior import find_prior
    from cost_models.errors import CostModelError
    from squeezenas_tvm.other_devices import find_other

    if (folder / FILE).exists():
        return FittedDevice.load(folder / FILE, partial(find_other, target), target=target.name)
    try:
        return find_prior(target)
    except CostModelError:
        return None


def _matching_table(folder: Path, target: "Target") -> "LatencyTable":
    """The latency table in ``folder``, if it is of this target and, for this machine, of this very device.

    Raises IncompatibleTable saying what differs.
    """
    from cost_models.database.environment import differences, environment
    from cost_models.database.table import LatencyTable
    from cost_models.errors import IncompatibleTable

    table = LatencyTable.load(folder, target=target.name)
    if target.kind == "local":
        here = environment(target, str(table.fingerprint.get("dtype")))
        if differing := differences(table.fingerprint, here):
            raise IncompatibleTable(
                f"{folder}: was measured in another environment ({', '.join(differing)}); "
                f"profile again: python -m squeezenas_tvm.profile --target {target.name}"
            )
    return table
