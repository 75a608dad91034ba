"""After the search: networks drawn from the distribution, judged by their paths, and their Pareto front."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from search.architecture import Architecture, dump_architecture
from search.problem.goal import Budget
from search.spaces.sampling import draw, names_of
from targets.support.files import write_whole

if TYPE_CHECKING:
    from search.parallel.ranks import Ranks  # loads PyTorch

_TRIES = 50  # draws for every network wanted: a distribution that has settled repeats itself


@dataclass(frozen=True, slots=True)
class Judged:
    """A network of the space, judged by its path through the supernet.

    Attributes:
        miou: mean IoU on the validation frames, 0..1.
        latency_s, low_s, high_s: estimated; the interval holds nine of ten.
        memory, bytes: peak of its feature maps, and traffic of all its kernels.
    """

    blocks: tuple[str, ...]
    miou: float
    latency_s: float
    low_s: float
    high_s: float
    macs: float
    params: float
    memory: float
    bytes: float

    def cost(self, name: str) -> float:
        """Of an objective."""
        return float(self.latency_s if name == "latency" else getattr(self, name))


def draw_networks(
    probabilities: Sequence[Sequence[float]], candidates: Sequence[Sequence[str]], count: int, seed: int
) -> list[tuple[str, ...]]:
    """Different networks from the final distribution, the likeliest first; fewer where it has hardly more."""
    generator = np.random.default_rng(seed)
    rows = [np.asarray(row, dtype=np.float64) / np.sum(row) for row in probabilities]
    likeliest = tuple(names[int(row.argmax())] for row, names in zip(rows, candidates, strict=True))
    found = {likeliest: None}
    for _ in range(_TRIES):
        for choice in draw(candidates, count, generator, rows):
            if len(found) < count:
                found.setdefault(names_of(candidates, choice))
    return list(found)


def judge(
    networks: Sequence[tuple[str, ...]],
    accuracy: Callable[[tuple[str, ...]], float],
    costs: Callable[[tuple[str, ...]], Mapping[str, float]],
    record: Path,
    ranks: "Ranks",
    *,
    note: Callable[[Judged, int], None],
) -> list[Judged]:
    """Judge each network; what ``record`` holds already, from a run that was interrupted, is not done again.

    Args:
        accuracy: mean IoU of a network, the same in every process.
        costs: the other fields of ``Judged``.
        record: JSON lines of the first process, one appended as soon as a network is judged.
        note: called with each, and how many there are now.
    """
    own = dict(read_record(record)) if ranks.first else {}
    if ranks.first:  # without a last line that was cut off
        write_whole(record, "".join(map(_line, own.items())), "the record of judged networks")
    known = _shared(networks, own, ranks)
    found = []
    for blocks in networks:
        miou = known.get(blocks)
        if miou is None:
            miou = accuracy(blocks)
            if ranks.first:
                with record.open("a", encoding="utf-8") as lines:
                    lines.write(_line((blocks, miou)))
        found.append(Judged(blocks=blocks, miou=miou, **costs(blocks)))
        note(found[-1], len(found))
    return found


def _shared(
    networks: Sequence[tuple[str, ...]], known: Mapping[tuple[str, ...], float], ranks: "Ranks"
) -> dict[tuple[str, ...], float]:
    """What the first process knows, in all of them: together they judge the rest."""
    import torch

    rows = [[blocks in known, known.get(blocks, 0.0)] for blocks in networks]
    told = ranks.sum(torch.tensor(rows, dtype=torch.float64, device=ranks.device)).tolist()
    return {blocks: miou for blocks, (there, miou) in zip(networks, told, strict=True) if there}


def _line(judged: tuple[tuple[str, ...], float]) -> str:
    return json.dumps({"blocks": judged[0], "miou": judged[1]}) + "\n"


def read_record(record: Path) -> Iterable[tuple[tuple[str, ...], float]]:
    """Blocks and mean IoU, as ``judge`` wrote them; a last line that was cut off is left out."""
    if not record.exists():
        return
    for line in record.read_text(encoding="utf-8").splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        yield tuple(fields["blocks"]), float(fields["miou"])


def pareto_front(networks: Iterable[Judged], cost: str) -> list[Judged]:
    """Those that no other beats in both accuracy and cost; the cheapest first."""
    front: list[Judged] = []
    for network in sorted(networks, key=lambda n: (n.cost(cost), -n.miou)):
        if not front or network.miou > front[-1].miou:
            front.append(network)
    return front


def choose(networks: Sequence[Judged], cost: str, limit: float | None) -> Judged:
    """The most accurate within the limit; the cheapest where none is; without a limit the best of all."""
    allowed = [n for n in networks if limit is None or n.cost(cost) <= limit]
    if not allowed:
        return min(networks, key=lambda n: n.cost(cost))
    return max(allowed, key=lambda n: (n.miou, -n.cost(cost)))


def write_front(
    folder: Path,
    networks: Sequence[Judged],
    front: Sequence[Judged],
    chosen: Judged,
    architecture: Callable[[Judged, str], Architecture],
    *,
    cost: str,
    budget: Budget | None,
) -> list[Path]:
    """Write ``networks.csv`` (all), ``front.png`` and the architectures of the front; returns their files.

    Args:
        architecture: makes the data of a network that is to have the given name.
    """
    write_whole(folder / "networks.csv", _csv(networks, set(front), chosen), "the judged networks")
    (folder / "front").mkdir(exist_ok=True)
    for old in (folder / "front").glob("*.yaml"):
        old.unlink()
    paths = []
    for index, network in enumerate(front):
        path = folder / "front" / f"{index:02d}.yaml"
        write_whole(
            path,
            dump_architecture(architecture(network, f"front-{index:02d}")),
            "an architecture of the front",
        )
        paths.append(path)
    _draw(folder / "front.png", networks, front, chosen, cost, budget)
    return paths


def _csv(networks: Sequence[Judged], front: set[Judged], chosen: Judged) -> str:
    from io import StringIO

    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["miou_percent", "latency_ms", "low_ms", "high_ms", "gmacs", "mparams", "memory_mib"]
    writer.writerow([*header, "moved_mib", "front", "chosen", "blocks"])
    for n in sorted(networks, key=lambda n: -n.miou):
        numbers = [100 * n.miou, n.latency_s * 1e3, n.low_s * 1e3, n.high_s * 1e3]
        numbers += [n.macs / 1e9, n.params / 1e6, n.memory / 2**20, n.bytes / 2**20]
        writer.writerow(
            [*(f"{x:.6g}" for x in numbers), int(n in front), int(n == chosen), " ".join(n.blocks)]
        )
    return text.getvalue()


_AXES = {
    "latency": ("estimated latency (ms)", 1e-3),
    "macs": ("GMACs", 1e9),
    "params": ("million parameters", 1e6),
    "memory": ("memory of feature maps (MiB)", 2**20),
    "bytes": ("MiB moved", 2**20),
}


def _draw(
    path: Path,
    networks: Sequence[Judged],
    front: Sequence[Judged],
    chosen: Judged,
    cost: str,
    budget: Budget | None,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    label, unit = _AXES[cost]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for group, colour, size, name in (
        (networks, "#b0b8c0", 12, "drawn networks"),
        (front, "#1f6fb4", 26, "Pareto front"),
        ([chosen], "#d1495b", 70, "chosen"),
    ):
        x = [n.cost(cost) / unit for n in group]
        y = [100 * n.miou for n in group]
        if cost == "latency":
            bars = [[n.latency_s - n.low_s for n in group], [n.high_s - n.latency_s for n in group]]
            spread = [[max(b, 0) / unit for b in side] for side in bars]
            axes.errorbar(x, y, xerr=spread, fmt="none", ecolor=colour, elinewidth=0.6, alpha=0.5)
        axes.scatter(x, y, s=size, c=colour, label=name, zorder=3 if name != "drawn networks" else 2)
    axes.step([n.cost(cost) / unit for n in front], [100 * n.miou for n in front], where="post", c="#1f6fb4")
    if budget and budget.name == cost:
        axes.axvline(
            budget.value / unit, color="#555555", linestyle="--", linewidth=1, label=f"budget {budget}"
        )
    axes.set(xlabel=label, ylabel="mIoU of the path through the supernet (%)")
    axes.legend(loc="lower right", frameon=False)
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=150)
