"""Networks of a space, each trained for the same few epochs: the truth that rankings are judged against.

    python benchmarks/ranking.py --data camvid:CamVid --init lat_small.pth --out truth.jsonl \
        --recipe benchmarks/results/ranking/recipe.yaml --networks 48 --again 8
    python benchmarks/ranking_scorers.py truth.jsonl      # what scores would have made of them

Draws networks at random, takes those that are nearest to latencies spread evenly over the space's, and trains
each from one network's weights, remapped. The first ``--again`` are trained with a second seed too: how far
these are apart is the least error of any ranking. One line of JSON a training, written when it ends; the same
command goes on from there, and ``--part 1/2`` beside ``--part 2/2`` share the work, each with a file of its
own. Trainings that were cut short go on from their last epoch in ``--work``.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from records import Records, say
from refusals import run_benchmark

from cost_models.lookup import cost_model
from search.architecture import Architecture, architecture_of
from search.costs.kernel_table import priced_graph
from search.data.datasets import open_data
from search.resolution import Resolution
from search.spaces.registry import get_space
from squeezenas_tvm.errors import UsageError
from targets import load_device

_DRAWN = 1000  # to choose from
_TRIM = 2  # per cent of the latencies at each end that are left out


@dataclass(frozen=True, slots=True)
class Drawn:
    """A network, and what is known of it untrained."""

    architecture: Architecture
    latency_ms: float
    gmacs: float
    mparams: float


def draw(args: argparse.Namespace) -> list[Drawn]:
    """The networks, by latency; the same whenever it is asked for the same."""
    space, size = get_space(args.space), Resolution.parse(args.resolution)
    classes, model = open_data(args.data).classes, cost_model(load_device(args.target), args.table)
    random, found = np.random.default_rng(args.seed), []
    for _ in range(_DRAWN):
        architecture = architecture_of(space, space.sample(random), classes)
        graph = priced_graph(model, architecture, size)
        found.append((1e3 * model.network(graph).median_s, architecture))
    latencies = np.array([latency for latency, _ in found])
    low, high = np.percentile(latencies, [_TRIM, 100 - _TRIM])
    chosen: list[int] = []
    for wanted in np.linspace(low, high, args.networks):
        order = np.argsort(np.abs(latencies - wanted), kind="stable")
        chosen.append(next(int(row) for row in order if int(row) not in chosen))
    return [_described(found[row][1], float(latencies[row]), size) for row in chosen]


def _described(architecture: Architecture, latency_ms: float, size: Resolution) -> Drawn:
    network = architecture.network()
    gmacs = network.macs({network.inputs[0]: (1, 3, *size)}) / 1e9
    return Drawn(architecture, latency_ms, gmacs, network.num_parameters / 1e6)


def wanted(count: int, again: int) -> Iterator[tuple[int, int]]:
    """Number and seed of each training: networks spread over all latencies first."""
    order = [row for start in range(4) for row in range(start, count, 4)]
    yield from ((row, 0) for row in order)
    yield from ((int(row), 1) for row in np.linspace(0, count - 1, again).round())


def train(drawn: Drawn, number: int, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Validation mIoU, in per cent, of a network after the recipe, and the mean loss of each epoch."""
    from squeezenas_tvm.api import train_architecture

    folder = args.work / f"{number}-{seed}"
    trained = train_architecture(
        drawn.architecture,
        args.data,
        args.recipe,
        folder,
        initial=args.init,
        new_head=args.new_head,
        seed=seed,
        workers=args.workers,
        resume=True,
    )
    with (folder / "curves.csv").open(newline="", encoding="utf-8") as file:
        losses = [round(float(row["loss"]), 4) for row in csv.DictReader(file)]
    return {"miou": float(trained.best["miou_percent"]), "losses": losses}


def main() -> None:
    """Draw, train what is not trained yet, keep."""
    args = _parser().parse_args()
    part, parts = _part(args.part)
    networks, records = draw(args), Records(args.out)
    todo = list(wanted(len(networks), args.again))[part - 1 :: parts]
    for done, (number, seed) in enumerate(todo, 1):
        if records.find(network=number, seed=seed):
            continue
        drawn = networks[number]
        trained = train(drawn, number, seed, args)
        about: dict[str, Any] = {
            "latency_ms": drawn.latency_ms,
            "gmacs": drawn.gmacs,
            "mparams": drawn.mparams,
        }
        genotype = list(drawn.architecture.genotype.values())
        records.add({"network": number, "seed": seed, "genotype": genotype, **about, **trained})
        what = f"network {number}, seed {seed}, {drawn.latency_ms:.2f} ms"
        say(f"{done}/{len(todo)}: {what}: {trained['miou']:.2f}")


def _part(text: str) -> tuple[int, int]:
    numbers = text.split("/")
    if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
        part, parts = map(int, numbers)
        if 1 <= part <= parts:
            return part, parts
    raise UsageError(f"--part {text}: allowed: K/N, such as 1/2 and 2/2")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="small", help="default %(default)s")
    parser.add_argument("--data", required=True, metavar="KIND:PATH")
    parser.add_argument("--resolution", default="360x480", metavar="HxW", help="of the latencies")
    parser.add_argument("--target", default="local-cpu", help="default %(default)s")
    parser.add_argument(
        "--table", type=Path, metavar="DIR", help="default results/TARGET, else the shipped one"
    )
    parser.add_argument("--init", metavar="WEIGHTS", help="that all networks begin with, remapped")
    parser.add_argument("--new-head", action="store_true", help="leave out what tells classes apart")
    parser.add_argument("--recipe", required=True, help="of each training")
    parser.add_argument("--networks", type=int, default=48, help="default %(default)s")
    parser.add_argument("--again", type=int, default=8, help="trained with two seeds (default %(default)s)")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="of the trainings (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that load data (default none)")
    parser.add_argument("--work", type=Path, default=Path("ranking"), help="folder of the trainings")
    parser.add_argument("--out", type=Path, required=True, help="file of what is finished")
    return parser


if __name__ == "__main__":
    run_benchmark(main)
