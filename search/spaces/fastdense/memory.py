"""Memory of parts where what else waits hangs on choices that a part does not know: an estimate."""

from collections.abc import Callable, Mapping
from statistics import mean

import numpy as np

from cost_models.ir.graph import GraphBuilder
from cost_models.ir.memory import peak_bytes, steps
from search.resolution import Resolution
from search.spaces.camera import frame_graph
from search.spaces.fastdense.assembly import Assembly
from search.spaces.space import Head, SearchSpace

_NETWORKS = 12  # random ones, by which it is told


def sampled_peaks(
    space: SearchSpace, resolution: Resolution, head: Head, assemble: Callable[[Mapping[str, str]], Assembly]
) -> dict[str, float]:
    """``SearchSpace.peak_bytes``: a part's own maps, and what waits beside its slot in some networks' mean.

    Exact where that is the same in all of them, as it is up to an encoder's first tap.
    """
    parts = {part.name: part for part in space.parts(resolution, head)}
    known: dict[object, float] = {}
    own = {}
    for name, part in parts.items():
        key = id(part.graph), *part.inputs.values()
        if key not in known:
            known[key] = float(peak_bytes(part.graph, part.inputs))
        own[name] = known[key]
    waiting: dict[str, list[float]] = {}
    random = np.random.default_rng(0)
    for _ in range(_NETWORKS):
        network = assemble(space.sample(random))
        for name, alive in _alive(network, resolution, head).items():
            waiting.setdefault(parts[name].slot or name, []).append(alive - own[name])
    usual = {slot: mean(values) for slot, values in waiting.items()}
    elsewhere = mean(usual.values())
    return {name: own[name] + usual.get(part.slot or name, elsewhere) for name, part in parts.items()}


def _alive(network: Assembly, resolution: Resolution, head: Head) -> dict[str, float]:
    """Part -> the most bytes alive while it runs in this network."""
    net = GraphBuilder(("frame",))
    (image,) = net.embed("", frame_graph(), "frame")
    (last,) = net.embed("", head.ending(network.net.build(network.borders[-1])), image)
    deployed = net.build(*net.embed("", head.after, last))
    end = network.owners[network.borders[-1]]
    own = {n.name: end for n in head.after.nodes} | {n.name: "frame" for n in frame_graph().nodes}
    found: dict[str, float] = {}
    for step in steps(deployed, {"frame": (1, *resolution, 3)}):
        node = step.call.nodes[0]
        name = own.get(node) or network.owners[node]
        found[name] = max(found.get(name, 0.0), float(step.alive))
    return found
