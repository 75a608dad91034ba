"""Random networks of a space at a given latency: what a search at that latency has to be better than.

    python benchmarks/random_networks.py --space gas --target local-cpu --resolution 360x480 \
        --data camvid:CamVid --latency-ms 7.5 --within 0.02 --networks 2 --out random

Draws networks, every one of the space as likely as the others, and writes those that take the latency as
``seed-0.yaml``, ``seed-1.yaml``, ...
"""

import argparse
from pathlib import Path

import numpy as np
from refusals import run_benchmark

from cost_models.lookup import cost_model
from search.architecture import architecture_of, dump_architecture
from search.costs.kernel_table import priced_graph
from search.data.datasets import open_data
from search.resolution import Resolution
from search.spaces.registry import get_space
from squeezenas_tvm.errors import UsageError
from targets import load_device
from targets.support.files import write_whole


def main() -> None:
    """Draw, price, write."""
    args = _parser().parse_args()
    space, size = get_space(args.space), Resolution.parse(args.resolution)
    classes = open_data(args.data).classes
    model = cost_model(load_device(args.target), args.table)
    drawn, found = np.random.default_rng(args.seed), 0
    for tried in range(1, args.most + 1):
        architecture = architecture_of(space, space.sample(drawn), classes)
        latency_ms = 1e3 * model.network(priced_graph(model, architecture, size)).median_s
        if abs(latency_ms / args.latency_ms - 1) > args.within:
            continue
        args.out.mkdir(parents=True, exist_ok=True)
        write_whole(args.out / f"seed-{found}.yaml", dump_architecture(architecture), "the architecture")
        print(f"seed-{found}.yaml: {latency_ms:.3f} ms, draw {tried}", flush=True)
        found += 1
        if found == args.networks:
            return
    raise UsageError(f"{found} of {args.networks} networks in {args.most} draws; give a larger --within")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--space", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--table", type=Path, help="folder of a profile (default: as search finds it)")
    parser.add_argument("--resolution", required=True, metavar="HxW")
    parser.add_argument("--data", required=True, metavar="KIND:PATH", help="whose classes they tell apart")
    parser.add_argument("--latency-ms", type=float, required=True)
    parser.add_argument("--within", type=float, default=0.02, help="a share of it (default 0.02)")
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--most", type=int, default=1000, help="draws (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    run_benchmark(main)
