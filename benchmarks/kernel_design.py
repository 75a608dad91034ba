"""Do kernels that a design chooses tell the others better than as many drawn at random?

    python benchmarks/kernel_design.py cost_models/local-cpu --kernels 60 120 240

Takes a table whose kernels were all measured, fits predictors to the first kernels of the design and to
random choices of equal size, and compares the errors on the rest.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from predictor_hold_outs import measured_kernels
from refusals import run_benchmark

from cost_models.database.table import LatencyTable
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.design import Design
from cost_models.kernel_models.predictor import Predictor
from squeezenas_tvm.cli import table as text_table

SHOWN = {
    "mape": "MAPE %",
    "median": "median %",
    "within_10": "% within 10 %",
    "coverage": "% inside interval",
}


def errors_on_the_rest(table: LatencyTable, some: Sequence[Kernel], kernels: Sequence[Kernel]) -> Errors:
    """Of a predictor fitted to ``some``, on the other ``kernels``."""
    seconds = {kernel: table.statistics(kernel).median_s for kernel in kernels}
    predictor = Predictor.fit(some, [seconds[kernel] for kernel in some], table.fingerprint)
    rest = [kernel for kernel in kernels if kernel not in set(some)]
    return Errors.of(predictor.predict(rest), [seconds[kernel] for kernel in rest])


def compare(table: LatencyTable, counts: Sequence[int], draws: int) -> list[dict[str, Any]]:
    """One entry a count: errors of the design, and of every draw."""
    kernels = measured_kernels(table)
    order, found = Design.of(kernels, [], table.fingerprint).order, []
    for count in counts:
        rows = [np.random.default_rng(seed).permutation(len(kernels))[:count] for seed in range(draws)]
        random = [errors_on_the_rest(table, [kernels[i] for i in own], kernels) for own in rows]
        chosen = errors_on_the_rest(table, order[:count], kernels)
        found.append({"kernels": count, "chosen": asdict(chosen), "random": [asdict(one) for one in random]})
    return found


def _text(found: Sequence[dict[str, Any]]) -> str:
    rows = []
    for one in found:
        cells = []
        for name in SHOWN:
            drawn = [100 * errors[name] for errors in one["random"]]
            mean, ends = statistics.fmean(drawn), f"{min(drawn):.1f} to {max(drawn):.1f}"
            cells += [f"{100 * one['chosen'][name]:.1f}", f"{mean:.1f} ({ends})"]
        rows.append([str(one["kernels"]), *cells])
    return text_table(["kernels", *(head for name in SHOWN.values() for head in (name, "random"))], rows)


def main() -> None:
    """Fit, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument(
        "--kernels", type=int, nargs="+", default=[60, 120, 240], help="how many are measured"
    )
    parser.add_argument("--draws", type=int, default=10, help="random choices of each count")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = compare(LatencyTable.load(args.table), args.kernels, args.draws)
    print(json.dumps(found, indent=2) if args.json else _text(found))


if __name__ == "__main__":
    run_benchmark(main)
