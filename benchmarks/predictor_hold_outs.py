"""How well unmeasured kernels are predicted from a table, by several ways of leaving kernels out.

    python benchmarks/predictor_hold_outs.py results/local-cpu --json

Prints errors by hold-out and kind of kernel over several random seeds, and what any predictor is up against:
how far a table of the same kernels, profiled again, is from this one (``--again FOLDER``), and how wide the
intervals of the medians are.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refusals import run_benchmark

from cost_models.database.table import LatencyTable
from cost_models.estimate import Estimate, Source
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.hold_outs import SPLITS, hold_outs
from cost_models.kernel_models.predictor import Predictor
from search.costs.kernel_table import space_kernels
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.registry import SPACES


def main() -> None:
    """Fit, leave out, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--again", type=Path, help="another table of the same kernels on the same device")
    parser.add_argument("--seeds", type=int, default=5, help="of the random hold-out")
    parser.add_argument("--most", type=int, help="groups that are tried of each hard hold-out (default all)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = _report(args.table, args.again, args.seeds, args.most)
    print(json.dumps(found, indent=2) if args.json else _text(found))


def _report(folder: Path, again: Path | None, seeds: int, most: int | None) -> dict[str, Any]:
    table = LatencyTable.load(folder)
    kernels = measured_kernels(table)
    seconds = [table.statistics(kernel).median_s for kernel in kernels]

    def fit(some: Sequence[Kernel], some_s: Sequence[float]) -> Any:
        return Predictor.fit(some, some_s, table.fingerprint).predict

    started = time.perf_counter()
    predictor = Predictor.fit(kernels, seconds, table.fingerprint)
    fit_s = time.perf_counter() - started
    draws = [
        hold_outs(kernels, seconds, fit, splits=["random"], seed=seed)["random"] for seed in range(seeds)
    ]
    resolutions = [table.resolutions(kernel) for kernel in kernels]
    hard = hold_outs(kernels, seconds, fit, splits=SPLITS[1:], resolutions=resolutions, most=most)
    return {
        "table": str(folder),
        "kernels": len(kernels),
        "not_of_a_space": len(table.rows) - len(kernels),
        "fit_s": fit_s,
        "families_left_out": dict(predictor.errors),
        "random": [asdict(draw) for draw in draws],
        "hard": {name: asdict(found) for name, found in hard.items()},
        "noise": _noise(kernels, table, LatencyTable.load(again) if again else None),
    }


def measured_kernels(table: LatencyTable) -> list[Kernel]:
    """Kernels of all spaces, at the table's resolutions and counts of classes, that it has samples of."""
    found = {
        kernel
        for one in table.profiled
        if one.outputs is not None
        for space in SPACES.values()
        if one.space in (None, space.name)
        for kernel in space_kernels(space, Resolution.parse(one.resolution), segmentation_head(one.outputs))
    }
    by_key = {kernel.key: kernel for kernel in found}
    return [by_key[key] for key, row in table.rows.items() if key in by_key and row.samples_s]


def _noise(kernels: Sequence[Kernel], table: LatencyTable, again: LatencyTable | None) -> dict[str, Any]:
    """What no predictor gets under: the spread of samples, and of a second profile of the same kernels."""
    found: dict[str, Any] = {
        "interval_width_median": statistics.median(table.statistics(kernel).width for kernel in kernels)
    }
    both = [kernel for kernel in kernels if again is not None and kernel.key in again.rows]
    if again is not None and both:
        repeated = [again.statistics(kernel) for kernel in both]
        told = [Estimate(r.median_s, r.p10_s, r.p90_s, Source.MEASURED) for r in repeated]
        found["again"] = asdict(Errors.of(told, [table.statistics(kernel).median_s for kernel in both]))
        del found["again"]["coverage"], found["again"]["far"]  # of samples, not of predictions
    return found


def _text(found: dict[str, Any]) -> str:
    """One line for each hold-out and kind; shares in percent."""
    heads = ("kernels", "MAPE", "median", "5 %", "10 %", "rank", "inside", "far")
    lines = [
        f"{found['kernels']} kernels, fitted in {found['fit_s']:.1f} s",
        f"{'':26}" + "".join(f"{head:>8}" for head in heads),
    ]
    parts = {f"random, seed {seed}": draw for seed, draw in enumerate(found["random"])} | found["hard"]
    for name, part in parts.items():
        lines.append(_line(f"{name} ({len(part['groups'])} groups)", part["overall"]))
        lines += [_line(f"  {kind}", errors) for kind, errors in part["by_kind"].items()]
    if "again" in found["noise"]:
        lines.append(_line("profiled again", found["noise"]["again"]))
    lines.append(f"95 % interval of the medians: {found['noise']['interval_width_median']:.1%} wide")
    return "\n".join(lines)


def _line(name: str, errors: dict[str, float]) -> str:
    shares = ("mape", "median", "within_5", "within_10")
    numbers = [f"{errors['count']}", *(f"{100 * errors[share]:.1f}" for share in shares)]
    numbers += [f"{errors['spearman']:.3f}"]
    numbers += [f"{100 * errors[share]:.0f}" if share in errors else "" for share in ("coverage", "far")]
    return f"{name:26}" + "".join(f"{number:>8}" for number in numbers)


if __name__ == "__main__":
    run_benchmark(main)
