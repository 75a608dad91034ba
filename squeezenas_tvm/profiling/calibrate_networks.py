"""Networks timed whole, random ones of a space or those of files, and estimates calibrated on them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cost_models.database.network_records import AboutFile

if TYPE_CHECKING:
    from cost_models.database.history import History
    from cost_models.database.network_records import About, WholeNetwork
    from cost_models.database.table import LatencyTable
    from cost_models.ir.kernel_graph import KernelGraph
    from cost_models.network_models.network_model import NetworkModel
    from cost_models.profiling.context import MeasureContext
    from cost_models.profiling.networks import Network
    from search.resolution import Resolution
    from search.spaces.space import Genotype, SearchSpace

log = logging.getLogger("squeezenas_tvm")
_DRAWN = 20  # times as many as are taken


def draw_networks(
    space: "SearchSpace", resolution: "Resolution", count: int, *, num_classes: int = 19, seed: int = 0
) -> "list[Network]":
    """Different random networks of a space, from the smallest to the largest of many draws.

    They are taken at even distances in multiply-accumulates, so that small and large ones occur. What was
    measured has no say: the same command means the same networks wherever it is repeated.
    """
    from cost_models.database.network_records import About
    from cost_models.profiling.networks import Network
    from search.architecture import architecture_of
    from search.costs.kernel_table import network_kernels
    from search.data.classes import unnamed

    found = []
    for genotype in _spread(space, resolution, count, num_classes, seed):
        architecture = architecture_of(space, genotype, unnamed(num_classes))
        graph, inputs = architecture.camera_network(), {"frame": (1, *resolution, 3)}
        about = About(
            space.name, tuple(genotype.values()), num_classes, (resolution.height, resolution.width)
        )
        found.append(Network(about, graph, inputs, network_kernels(architecture, resolution)))
    return found


def _spread(
    space: "SearchSpace", resolution: "Resolution", count: int, num_classes: int, seed: int
) -> "Sequence[Genotype]":
    import numpy as np

    from search.spaces.camera import segmentation_head
    from search.spaces.sampling import candidates_of, draw_by_seed, genotypes
    from search.spaces.space import one_hot

    drawn = genotypes(space, draw_by_seed(candidates_of(space), _DRAWN * count, seed))
    different = list({tuple(genotype.values()): genotype for genotype in drawn}.values())
    runs = space.marginals(one_hot(space, different)) if different else {}
    macs = np.zeros(len(different))
    for part in space.parts(resolution, segmentation_head(num_classes)):
        macs += runs.get(part.name, 1.0) * part.graph.macs(part.inputs)
    left, chosen = list(range(len(different))), []
    for step in range(min(count, len(different))):
        wanted = macs.min() + (macs.max() - macs.min()) * step / max(count - 1, 1)
        nearest = min(left, key=lambda index: abs(macs[index] - wanted))
        chosen.append(different[nearest])
        left.remove(nearest)
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
    from cost_models.database.profiled_networks import ProfiledNetworks
    from cost_models.network_models.network_model import MODEL
    from cost_models.profiling.networks import whole_networks

    networks = whole_networks(history, table)
    graphs = ProfiledNetworks.in_folder(folder, table.fingerprint).graphs
    if (found := calibrate(networks, table, graphs)) is not None:
        model, told = found
        model.save(folder, told, made_by=made_by)
        return model
    if (folder / MODEL).exists():
        (folder / MODEL).unlink()
        log.warning("%s: kernels run on other schedules now, so it no longer holds; removed", folder / MODEL)
    return None


def calibrate(
    networks: "Sequence[WholeNetwork]",
    table: "LatencyTable",
    graphs: "Mapping[str, KernelGraph]" = MappingProxyType({}),
) -> "tuple[NetworkModel, list[WholeNetwork]] | None":
    """The estimate of networks, fitted to those whose kernels the table has, and these; None if too few.

    Those of spaces tell those of spaces; both together tell those from files, in an interval of the latter's
    errors. Where one sort is too few to be judged, the other tells both.

    Args:
        graphs: of networks from files, by digest.
    """
    from cost_models.network_models.network_fit import LEAST_NETWORKS, TimedNetwork, fit_networks

    spaces: dict[WholeNetwork, TimedNetwork] = {}
    files: dict[WholeNetwork, TimedNetwork] = {}
    for network in networks:
        about, of_file = network.about, isinstance(network.about, AboutFile)
        graph = graphs.get(about.digest) if isinstance(about, AboutFile) else graph_of(about)
        if graph is not None and all(kernel.key in table.rows for kernel in graph.kernels):
            alone_s = [table.statistics(kernel).median_s for kernel in graph.kernels]
            (files if of_file else spaces)[network] = TimedNetwork(graph, alone_s, network.median_s)
    sorts = [sort for sort in (spaces, files) if len(sort) >= LEAST_NETWORKS]
    models, used = [], list[TimedNetwork]()
    for sort in sorts:
        told = [*sort.values()]
        origin = f"{len(used) + len(told)} networks timed whole on {table.machine}"
        models.append(fit_networks(told, table.fingerprint, origin, used))
        used = [*used, *told]
    if not models:
        return None
    first, *others = models
    return replace(first, files=others[0] if others else None), [
        network for sort in sorts for network in sort
    ]


def graph_of(about: "About") -> "KernelGraph":
    """The kernels of a network of a space.

    Raises:
        SearchError: no network of a space that this program knows.
    """
    from search.architecture import architecture_of
    from search.costs.kernel_table import network_graph
    from search.data.classes import unnamed
    from search.resolution import Resolution
    from search.spaces.registry import get_space

    space = get_space(about.space)
    names = [decision.name for decision in space.decisions]
    genotype = dict(zip(names, about.blocks, strict=False))
    architecture = architecture_of(space, genotype, unnamed(about.num_classes))
    return network_graph(architecture, Resolution(*about.resolution))
