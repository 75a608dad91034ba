"""Kernels a minute that the builder compiles and links on this machine, without any device.

    python benchmarks/builder_throughput.py --trials 64 --json

Proposes schedules of one pointwise convolution (48 -> 288 channels, 64 x 128) and builds them. Starting the
workers is left out; proposing is reported beside building.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cost_models.building import BuildPool
from cost_models.running import RunResult
from cost_models.tuning import tune
from cost_models.tvm_import import tvm


def pointwise() -> Any:
    x = tvm.te.placeholder((1, 48, 64, 128), name="x")
    w = tvm.te.placeholder((288, 48, 1, 1), name="w")
    y = tvm.topi.nn.relu(tvm.topi.nn.conv2d_nchw(x, w, stride=1, padding=0, dilation=1))
    return tvm.IRModule({"main": tvm.te.create_prim_func([x, w, y]).with_attr("global_symbol", "main")})


def not_measured(path: Path, args_info: Sequence[Any], best_s: float) -> RunResult:
    return RunResult(samples_s=(1e-3,))


def measure(trials: int, workers: int | None) -> dict[str, float]:
    target = tvm.target.Target({"kind": "llvm", "num-cores": os.cpu_count() or 1})
    with BuildPool(workers) as pool:
        pool.build([pointwise()] * pool.workers, target)  # the workers have loaded TVM
        started = time.perf_counter()
        done = tune(pointwise(), target, trials=trials, build_pool=pool, measure=not_measured)
        tuning_s = time.perf_counter() - started
    build_s = sum(trial.build_s for trial in done)
    return {
        "trials": len(done),
        "failed": sum(trial.error is not None for trial in done),
        "workers": pool.workers,
        "build_s_each": build_s / len(done),
        "builds_per_minute": 60 * len(done) / (build_s / pool.workers),
        "trials_per_minute_with_proposing": 60 * len(done) / tuning_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--workers", type=int, default=None, help="default: one a core")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    print("building ...", file=sys.stderr)
    result = measure(options.trials, options.workers)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>34}  {value:.4g}")


if __name__ == "__main__":
    main()
