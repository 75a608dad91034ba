"""What a search leaves of the networks that it judged: a table, a picture, the architectures of the front."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from search.architecture import Architecture, dump_architecture
from search.costs.objectives import OBJECTIVES
from search.problem.judged import Judged
from search.problem.problem import SearchProblem
from search.results.front_plot import draw_front
from targets.support.files import write_whole
from targets.support.sealed import is_sealed, write_sealed

CHOSEN = "chosen.yaml"
MOVE_AWAY = "move it away, and give the same command with --resume: it finds the same networks again"


def write_front(
    folder: Path,
    problem: SearchProblem,
    networks: Sequence[Judged],
    front: Sequence[Judged],
    chosen: Judged,
    architecture: Callable[[Judged, str], Architecture],
    companions: Mapping[str, Architecture],
) -> list[Path]:
    """Write ``networks.csv`` (all), ``front.png``, and the architectures of the front and of ``chosen``.

    Args:
        architecture: makes the data of a network that is to have the given name.
        companions: other networks, by name.

    Returns the files of the front's architectures. Raises InTheWay where somebody has written or changed one
    of the architectures that are there.
    """
    paths = [folder / "front" / f"{index:02d}.yaml" for index in range(len(front))]
    texts = {
        path: dump_architecture(architecture(network, f"front-{path.stem}"))
        for path, network in zip(paths, front, strict=True)
    }
    texts[folder / CHOSEN] = dump_architecture(architecture(chosen, "chosen"))
    texts |= {folder / companion_file(name): dump_architecture(own) for name, own in companions.items()}
    write_sealed(texts, MOVE_AWAY)
    for old in numbered(folder):
        if old not in texts and is_sealed(old):  # of an older front
            old.unlink()
    table = _csv(problem, networks, set(front), chosen)
    write_whole(folder / "networks.csv", table, "the judged networks")
    draw_front(folder / "front.png", problem, networks, front, chosen)
    return paths


def companion_file(name: str) -> str:
    """Of a network that is handed over beside the chosen one."""
    return f"{name}.yaml"


def numbered(folder: Path) -> list[Path]:
    """Files there that are called as those of a front are."""
    return sorted(path for path in folder.glob("front/*.yaml") if re.fullmatch(r"\d\d+", path.stem))


def genotype_of(problem: SearchProblem, network: Judged) -> Mapping[str, str]:
    """Decision -> option."""
    names = (decision.name for decision in problem.space.decisions)
    return dict(zip(names, network.options, strict=True))


def _csv(problem: SearchProblem, networks: Sequence[Judged], front: set[Judged], chosen: Judged) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    costs = ("latency", "latency_low", "latency_high", "macs", "params", "memory", "bytes")
    header = [problem.task.primary, *(OBJECTIVES[name].column for name in costs)]
    writer.writerow([*header, "front", "chosen", "blocks"])
    for n in sorted(networks, key=lambda n: -n.score):
        numbers = [problem.task.score_of(n.score), n.latency_s * 1e3, n.low_s * 1e3, n.high_s * 1e3]
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
