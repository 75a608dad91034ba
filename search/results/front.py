"""What a search leaves of the networks that it judged: a table, a picture, the architectures of the front."""

import csv
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from search.architecture import Architecture, dump_architecture
from search.problem.judged import Judged
from search.problem.problem import SearchProblem
from search.results.front_plot import draw_front
from targets.support.files import write_whole


def write_front(
    folder: Path,
    problem: SearchProblem,
    networks: Sequence[Judged],
    front: Sequence[Judged],
    chosen: Judged,
    architecture: Callable[[Judged, str], Architecture],
) -> list[Path]:
    """Write ``networks.csv`` (all), ``front.png`` and the architectures of the front; returns their files.

    Args:
        architecture: makes the data of a network that is to have the given name.
    """
    table = _csv(problem, networks, set(front), chosen)
    write_whole(folder / "networks.csv", table, "the judged networks")
    (folder / "front").mkdir(exist_ok=True)
    for old in (folder / "front").glob("*.yaml"):
        old.unlink()
    paths = []
    for index, network in enumerate(front):
        path = folder / "front" / f"{index:02d}.yaml"
        text = dump_architecture(architecture(network, f"front-{index:02d}"))
        write_whole(path, text, "an architecture of the front")
        paths.append(path)
    draw_front(folder / "front.png", problem, networks, front, chosen)
    return paths


def genotype_of(problem: SearchProblem, network: Judged) -> Mapping[str, str]:
    """Decision -> option."""
    names = (decision.name for decision in problem.space.decisions)
    return dict(zip(names, network.options, strict=True))


def _csv(problem: SearchProblem, networks: Sequence[Judged], front: set[Judged], chosen: Judged) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [problem.task.primary, "latency_ms", "low_ms", "high_ms", "gmacs", "mparams", "memory_mib"]
    writer.writerow([*header, "moved_mib", "front", "chosen", "blocks"])
    for n in sorted(networks, key=lambda n: -n.score):
        numbers = [100 * n.score, n.latency_s * 1e3, n.low_s * 1e3, n.high_s * 1e3]
        numbers += [n.macs / 1e9, n.params / 1e6, n.memory / 2**20, n.bytes / 2**20]
        writer.writerow(
            [*(f"{x:.6g}" for x in numbers), int(n in front), int(n == chosen), _spelled(problem, n)]
        )
    return text.getvalue()


def _spelled(problem: SearchProblem, network: Judged) -> str:
    """Its blocks, or what was decided otherwise."""
    genotype = genotype_of(problem, network)
    short = problem.space.short_form(genotype)
    return " ".join(short or [f"{name}={option}" for name, option in genotype.items()])
