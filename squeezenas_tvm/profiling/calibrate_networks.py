"""``profile --networks``: random networks of a space timed whole, and estimates calibrated on them."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cost_models.database.history import History
    from cost_models.database.network_records import About, WholeNetwork
    from cost_models.database.table import LatencyTable
    from cost_models.ir.kernel_graph import KernelGraph
    from cost_models.network_models.network_model import NetworkModel
    from cost_models.profiling.context import MeasureContext
    from cost_models.profiling.networks import Network
    from search.resolution import Resolution
    from search.spaces.chain import ChainSpace

log = logging.getLogger("squeezenas_tvm")
_DRAWN = 20  # times as many as are taken


def draw_networks(
    space: "ChainSpace", resolution: "Resolution", count: int, *, num_classes: int = 19, seed: int = 0
) -> "list[Network]":
    """Different random networks of a space, from the smallest to the largest of many draws.

    They are taken at even distances in multiply-accumulates, so that small and large ones occur. What was
    measured has no say: the same command means the same networks wherever it is repeated.
    """
    from cost_models.database.network_records import About
    from cost_models.profiling.networks import Network
    from search.architecture import Architecture
    from search.costs.kernel_table import network_kernels

    found = []
    for blocks in _spread(space, resolution, count, seed):
        architecture = Architecture(space=space.name, blocks=list(blocks), num_classes=num_classes)
        graph, inputs = (
            architecture.camera_network(),
            {"frame": (1, *resolution, 3)},
        )
        about = About(space.name, blocks, num_classes, (resolution.height, resolution.width))
        found.append(Network(about, graph, inputs, network_kernels(architecture, resolution)))
    return found


def _spread(space: "ChainSpace", resolution: "Resolution", count: int, seed: int) -> list[tuple[str, ...]]:
    from search.spaces.sampling import draw_by_seed, names_of

    candidates = [position.candidates for position in space.positions]
    choices = draw_by_seed(candidates, _DRAWN * count, seed)
    drawn = dict.fromkeys(names_of(candidates, choice) for choice in choices)
    macs = {(index, name): part.graph.macs(part.inputs) for index, name, part in space.blocks(resolution)}
    left = {blocks: sum(macs[place] for place in enumerate(blocks)) for blocks in drawn}
    least, most = min(left.values(), default=0), max(left.values(), default=0)
    chosen = []
    for step in range(min(count, len(left))):
        wanted = least + (most - least) * step / max(count - 1, 1)
        blocks = min(left, key=lambda blocks: abs(left[blocks] - wanted))
        chosen.append(blocks)
        del left[blocks]
    return chosen


def time_whole(
    context: "MeasureContext", table: "LatencyTable", networks: "Sequence[Network]", tick: Callable[[], None]
) -> None:
    """Build and time networks, as far as their kernels were measured; what is on record is not repeated."""
    from cost_models.profiling.networks import time_networks

    known = {key for key, row in table.rows.items() if row.samples_s}
    found = [network for network in networks if all(kernel.key in known for kernel in network.kernels)]
    if len(found) < len(networks):
        log.warning("%d networks are not timed: kernels of theirs have no timing", len(networks) - len(found))
    context.apart(lambda: time_networks(context, table, found), tick)


def fit_network_model(
    table: "LatencyTable", history: "History", folder: Path, made_by: str
) -> "NetworkModel | None":
    """Fit all networks on record that still run as the table says, and save; None where they are too few.

    A calibration in ``folder`` that no longer holds goes; the timings stay in the store.
    """
    from cost_models.network_models.network_model import MODEL
    from cost_models.profiling.networks import whole_networks

    networks = whole_networks(history, table)
    found = calibrate(networks, table, f"{len(networks)} networks timed whole on {table.machine}")
    if found is not None:
        model, told = found
        model.save(folder, told, made_by=made_by)
        return model
    if (folder / MODEL).exists():
        (folder / MODEL).unlink()
        log.warning("%s: kernels run on other schedules now, so it no longer holds; removed", folder / MODEL)
    return None


def calibrate(
    networks: "Sequence[WholeNetwork]", table: "LatencyTable", origin: str
) -> "tuple[NetworkModel, list[WholeNetwork]] | None":
    """The estimate of networks, fitted to those whose kernels the table has, and these; None if too few."""
    from cost_models.network_models.network_fit import LEAST_NETWORKS, TimedNetwork, fit_networks

    timed, told = [], []
    for network in networks:
        graph = graph_of(network.about)
        if all(kernel.key in table.rows for kernel in graph.kernels):
            alone_s = [table.statistics(kernel).median_s for kernel in graph.kernels]
            timed.append(TimedNetwork(graph, alone_s, network.median_s))
            told.append(network)
    return (fit_networks(timed, table.fingerprint, origin), told) if len(timed) >= LEAST_NETWORKS else None


def graph_of(about: "About") -> "KernelGraph":
    """The kernels of a network that was timed whole.

    Raises:
        SearchError: no network of a space that this program knows.
    """
    from search.architecture import Architecture
    from search.costs.kernel_table import network_graph
    from search.resolution import Resolution

    architecture = Architecture(space=about.space, blocks=list(about.blocks), num_classes=about.num_classes)
    return network_graph(architecture, Resolution(*about.resolution))
