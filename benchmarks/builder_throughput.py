"""Kernels a minute that the build pool compiles and links on this machine, without any device.

    python benchmarks/builder_throughput.py --trials 64 --json

Builds schedules of one pointwise convolution (48 -> 288 channels, 64 x 128): first tiles of our convolution
template, then random schedules by MetaSchedule's rules. Starting the workers is left out. Of the time of all
workers, ``waiting_share`` is what no build accounts for: the pool's own cost, and the last round's idle ends.
"""

import argparse
import json
import os
import sys
import time
from typing import Any

from refusals import run_benchmark

from cost_models.builder.pool import BuildPool
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings
from cost_models.tvm_import import tvm

KINDS = {"tiles": "tiles", "metaschedule": "evolution"}  # name in the report -> source of the search


def pointwise() -> Any:
    x = tvm.te.placeholder((1, 48, 64, 128), name="x")
    w = tvm.te.placeholder((288, 48, 1, 1), name="w")
    y = tvm.topi.nn.relu(tvm.topi.nn.conv2d_nchw(x, w, stride=1, padding=0, dilation=1))
    return tvm.IRModule({"main": tvm.te.create_prim_func([x, w, y]).with_attr("global_symbol", "main")})


def propose(source: str, count: int, target: Any) -> list[Any]:
    """Modules that are scheduled by one source, as they are drawn."""
    settings = SearchSettings(round_size=count, population=2 * count, generations=0, sources=(source,))
    return [proposal.mod for proposal in KernelSearch(pointwise(), target, settings).propose(count)]


def measure(source: str, count: int, pool: BuildPool, target: Any) -> dict[str, float]:
    started = time.perf_counter()
    modules = propose(source, count, target)
    proposed = time.perf_counter()
    futures = [pool.submit(module, target) for module in modules]
    done = [future.result() for future in futures]
    wall_s = time.perf_counter() - proposed
    build_s, link_s = sum(result.build_s for result in done), sum(result.link_s for result in done)
    return {
        "built": sum(result.error is None for result in done),
        "failed": sum(result.error is not None for result in done),
        "builds_per_minute": 60 * len(done) / wall_s,
        "compile_s_each": (build_s - link_s) / len(done),
        "link_s_each": link_s / len(done),
        "link_share": link_s / build_s,
        "waiting_share": 1 - build_s / (wall_s * pool.workers),
        "propose_s_each": (proposed - started) / len(done),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=64, help="of each kind")
    parser.add_argument("--workers", type=int, default=None, help="default: one a core")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    print("building ...", file=sys.stderr)
    target = tvm.target.Target({"kind": "llvm", "num-cores": os.cpu_count() or 1})
    with BuildPool(options.workers) as pool:  # nothing is measured beside it
        pool.build([pointwise()] * pool.workers, target)  # the workers have loaded TVM
        found = {kind: measure(source, options.trials, pool, target) for kind, source in KINDS.items()}
    if options.json:
        print(json.dumps({"workers": pool.workers, **found}))
        return
    for kind, numbers in found.items():
        for name, value in numbers.items():
            print(f"{kind:>12}  {name:<20}{value:.4g}")


if __name__ == "__main__":
    run_benchmark(main)
