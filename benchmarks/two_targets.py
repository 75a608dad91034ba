"""Two searches for two targets: what each one's networks cost on both.

    python benchmarks/two_targets.py results/search-local-cpu results/search-jetson-xavier --json

The searches must be of one space, data set and resolution. For every pair of target and search: the chosen
network's latency there, and, at accuracies that both searches reach, the latency of the fastest network that
each of them drew. Accuracies are those of paths through the search's own supernet: they rank, they do not
tell what training would give.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from refusals import run_benchmark

from cost_models.lookup import cost_model
from search.architecture import load_architecture
from search.costs.chain_costs import ChainCosts
from search.data.classes import CLASSES
from search.resolution import Resolution
from search.results import document
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from targets import load_target

LEVELS = (0.25, 0.5, 0.75)  # of the way from the least to the greatest accuracy that both have


@dataclass(frozen=True)
class Found:
    """What a search drew.

    Attributes:
        miou: of each network's path, 0..1.
    """

    target: str
    chosen: tuple[str, ...]
    networks: Sequence[tuple[str, ...]]
    miou: Sequence[float]


def read(folder: Path) -> Found:
    """The networks of a finished search."""
    told = document.load(folder)
    with (folder / "networks.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    networks = [tuple(row["blocks"].split()) for row in rows]
    chosen = tuple(load_architecture(folder / "chosen.yaml").genotype.values())
    return Found(told.target, chosen, networks, [float(row["miou_percent"]) / 100 for row in rows])


def compare(searches: Mapping[str, Found], costs: Mapping[str, ChainCosts]) -> dict[str, Any]:
    """By target, then by the target that was searched for."""
    least = max(min(found.miou) for found in searches.values())
    greatest = min(max(found.miou) for found in searches.values())
    levels = [least + share * (greatest - least) for share in LEVELS]
    return {
        on: {
            name: {
                "chosen_ms": _latencies_ms(cost, [found.chosen])[0],
                "median_ms": float(np.median(_latencies_ms(cost, found.networks))),
                "fastest_ms": [_fastest_ms(cost, found, level) for level in levels],
            }
            for name, found in searches.items()
        }
        for on, cost in costs.items()
    } | {"levels_miou_percent": [100 * level for level in levels]}


def _latencies_ms(costs: ChainCosts, networks: Sequence[tuple[str, ...]]) -> list[float]:
    return [1e3 * float(value) for value in costs.total(costs.choices(networks))["latency"]]


def _fastest_ms(costs: ChainCosts, found: Found, level: float) -> float:
    good = [blocks for blocks, miou in zip(found.networks, found.miou, strict=True) if miou >= level]
    return min(_latencies_ms(costs, good))


def main() -> None:
    """Read, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("search", nargs=2, type=Path, help="folder of a finished search")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    told = [document.load(folder) for folder in args.search]
    searches = {found.target: found for found in map(read, args.search)}
    space, resolution = get_space(told[0].space), Resolution.parse(told[0].resolution)
    head = segmentation_head(len(CLASSES[told[0].data.split("+")[0]]))
    costs = {
        target: ChainCosts.of(cost_model(load_target(target), None), space, resolution, head)
        for target in searches
    }
    found = compare(searches, costs)
    print(json.dumps(found, indent=2) if args.json else _text(found, list(searches)))


def _text(found: Mapping[str, Any], targets: Sequence[str]) -> str:
    levels = ", ".join(f"{level:.1f}" for level in found["levels_miou_percent"])
    lines = [f"ms; fastest with a path of at least {levels} % mIoU"]
    for on in targets:
        for name in targets:
            own = found[on][name]
            fastest = ", ".join(f"{value:.2f}" for value in own["fastest_ms"])
            lines.append(f"on {on}, searched for {name}: chosen {own['chosen_ms']:.2f}; fastest {fastest}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_benchmark(main)
