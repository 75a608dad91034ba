"""A million random architectures of a space costed from a table: seconds, memory, the fastest, the slowest.

    python benchmarks/million_architectures.py --table cost_models/local-cpu --resolution 256x512 --json

One thread: numpy's look-ups and sums use no more. Where the table lacks kernels, its predictor is asked.
Medians of 5 rounds, by the clock and of the processor's time, which others on the machine disturb less.
"""

import argparse
import json
import resource
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from refusals import run_benchmark

from cost_models.lookup import cost_model
from search.costs.chain_costs import ChainCosts, Choices
from search.costs.objectives import shown
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from search.spaces.sampling import draw
from targets import load_target

ROUNDS = 5
LATENCY = ("latency", "latency_low", "latency_high")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="local-cpu")
    parser.add_argument("--table", type=Path, metavar="DIR", help="as for predict")
    parser.add_argument("--space", default="small")
    parser.add_argument("--resolution", default="256x512")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for end in ("fastest", "slowest"):
        blocks, costs = found[end].pop("blocks"), found[end]
        found[end] = ", ".join([blocks, *(shown(name, value) for name, value in costs.items())])
    for key, value in found.items():
        print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """What the benchmark prints."""
    model = cost_model(load_target(args.target), args.table)
    space, resolution = get_space(args.space), Resolution.parse(args.resolution)
    started_s = time.perf_counter()
    costs = ChainCosts.of(model, space, resolution, segmentation_head(19))
    tables_s = time.perf_counter() - started_s
    generator = np.random.default_rng(args.seed)
    choices = draw(costs.candidates, args.count, generator).astype(np.uint8)
    timed: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, objectives in (("latency_with_interval", LATENCY), ("all_objectives", costs.objectives)):
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            costs.total(choices, objectives)
            timed[f"{name}_s"].append(time.perf_counter() - wall_s)
            timed[f"{name}_cpu_s"].append(time.process_time() - cpu_s)
    totals = costs.total(choices)
    order = np.argsort(totals["latency"])
    return {
        "space": space.name,
        "target": args.target,
        "resolution": str(resolution),
        "architectures": args.count,
        "tables_s": tables_s,
        **{name: statistics.median(seconds) for name, seconds in timed.items()},
        "objectives": costs.objectives,
        "choices_mib": choices.nbytes / 2**20,
        "totals_mib": sum(array.nbytes for array in totals.values()) / 2**20,
        "peak_memory_of_process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "fastest": _describe(costs, choices[order[0]]),
        "slowest": _describe(costs, choices[order[-1]]),
    }


def _describe(costs: ChainCosts, choice: Choices) -> dict[str, Any]:
    totals = {name: float(values[0]) for name, values in costs.total(choice[None]).items()}
    blocks = [names[column] for names, column in zip(costs.candidates, choice, strict=True)]
    return {"blocks": " ".join(blocks), **totals}


if __name__ == "__main__":
    run_benchmark(main)
