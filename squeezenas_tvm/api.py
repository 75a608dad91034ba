"""The public Python API, re-exported by ``squeezenas_tvm``; nothing here imports TVM or PyTorch by itself."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cost_models.database.table import LatencyTable
from cost_models.estimate import NetworkEstimate
from search.architecture import Architecture, list_architectures, load_architecture
from search.costs.kernel_table import network_graph, network_kernels
from search.resolution import Resolution
from search.spaces.registry import get_space
from targets import Target, list_targets, load_target

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel

__all__ = [
    "Architecture",
    "LatencyTable",
    "NetworkEstimate",
    "Resolution",
    "Target",
    "estimate_latency",
    "fit_device",
    "get_space",
    "list_architectures",
    "list_targets",
    "load_architecture",
    "load_target",
]


def fit_device(
    target: Target,
    networks: Sequence[tuple[Architecture, tuple[int, int], float]],
    others: "Mapping[str, CostModel] | None" = None,
) -> "CostModel":
    """A cost model of a target on which only whole networks were measured; ten of them tell much.

    Args:
        networks: architecture, height and width, and seconds of the deployed network (camera frame to class
            indices); at least four.
        others: name -> cost model of other devices, which the target may be like; when None all that are
            known: tables in ``results/``, shipped ones, priors. The target's data sheet is used in any case.

    Returns:
        For ``estimate_latency(architecture, target, table=...)``; its source is ``prior``, its interval that
        of networks which the others of ``networks`` told.

    Raises:
        CostModelError: too few networks, or a latency that is not above 0 and finite.
        InvalidResolution: a size that no network takes.
    """
    from cost_models.cost_model import CostModel
    from cost_models.device_models.fitted_device import FittedDevice, MeasuredNetwork
    from cost_models.lookup import data_sheet, other_devices

    measured = [
        MeasuredNetwork(
            architecture.name, tuple(network_kernels(architecture, Resolution(*size).checked())), seconds
        )
        for architecture, size, seconds in networks
    ]
    seconds = [network.seconds for network in measured]
    fitted = FittedDevice.fit(
        target.name,
        measured,
        other_devices(target, "float32", seconds) if others is None else others,
        measured=f"given on {date.today().isoformat()}",
        start=data_sheet(target, "float32"),
    )
    return CostModel(target.name, prior=fitted)


def estimate_latency(
    architecture: Architecture,
    target: Target,
    resolution: tuple[int, int] = (1024, 2048),
    *,
    table: "CostModel | LatencyTable | str | Path | None" = None,
) -> NetworkEstimate:
    """Latency of the deployed network (camera frame to class indices), without the device.

    Every kernel is told by the best source that knows it: measured, else predicted, else a prior.

    Args:
        resolution: height and width, pixels.
        table: a cost model (``fit_device`` makes one), a table, which is then asked alone, or the folder of a
            profile; when None ``results/TARGET`` in the current folder, or else what is shipped.

    Raises:
        IncompatibleTable, IncompatiblePredictor, IncompatibleNetworkModel: no table there, or one of another
            target or machine.
        MissingEntry: a kernel of the network was not measured, and nothing else tells it.
        InvalidResolution: a size that no network takes.
    """
    from cost_models.cost_model import CostModel
    from cost_models.lookup import cost_model

    if isinstance(table, LatencyTable):
        model = CostModel(table.target, table)
    elif isinstance(table, CostModel):
        model = table
    else:
        model = cost_model(target, Path(table) if table else None)
    return model.network(network_graph(architecture, Resolution(*resolution).checked()))
