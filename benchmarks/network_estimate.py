"""How well whole networks are estimated: each of those that were timed, by a calibration on the others.

    python benchmarks/network_estimate.py --table results/local-cpu --json

Reads the table and the timed networks beside it (``profile --networks 24``, ``profile net.onnx``) and
calibrates anew; those from files are a group of their own. Beside the
errors stand those of the plain sum of kernels, and the noise floor: how far a round of timing is from the
median of the other rounds of the same network. No estimate can be expected to be closer than that.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from refusals import run_benchmark

from cost_models.database.network_records import About, AboutFile, WholeNetwork
from cost_models.database.profiled_networks import ProfiledNetworks
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError
from cost_models.estimate import Estimate, Source
from cost_models.kernel_models.accuracy import Errors, spearman
from cost_models.network_models.network_fit import LEAST_NETWORKS
from cost_models.network_models.network_model import load_networks
from squeezenas_tvm.profiling.calibrate_networks import calibrate

_FILES = "files"


def main() -> None:
    """Calibrate, leave out, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True, help="folder of a profile with --networks")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = report(args.table)
    print(json.dumps(found, indent=2) if args.json else _text(found))


def report(folder: Path) -> dict[str, Any]:
    """Errors over all networks, and by space and resolution where there are several.

    Raises:
        CostModelError: no table or no networks there, or too few.
    """
    networks, table = load_networks(folder), LatencyTable.load(folder)
    calibrated = calibrate(networks, table, ProfiledNetworks.in_folder(folder, table.fingerprint).graphs)
    if calibrated is None:
        raise CostModelError(
            f"{folder}: {len(networks)} timed networks, at least {LEAST_NETWORKS} are needed whose kernels "
            "the table has; profile with --networks 24"
        )
    model, told = calibrated
    left_out = [_LeftOut(*own) for own in zip(told, *zip(*model.by_others(), strict=True), strict=True)]
    groups: dict[str, list[_LeftOut]] = {}
    for network in left_out:
        groups.setdefault(_group_of(network.told.about), []).append(network)
    spaces = [network for network in left_out if isinstance(network.told.about, About)]
    if len(groups.keys() - {_FILES}) > 1:
        groups = {"all": spaces} | groups
    return {
        "table": str(folder),
        "model": {
            name: value
            for name, value in asdict(model).items()
            if name in ("scale", "gap_s", "cold_s_per_byte", "overhead_s", "overlap", "width")
        },
        "groups": {name: _group(networks) for name, networks in groups.items()},
    }


@dataclass(frozen=True)
class _LeftOut:
    """A network, ``log(estimated / measured)`` by a fit to others, and half of the interval, likewise."""

    told: WholeNetwork
    log: float
    width: float


def _group_of(about: About | AboutFile) -> str:
    if isinstance(about, AboutFile):
        return _FILES
    return f"{about.space} {'x'.join(map(str, about.resolution))}"


def _group(networks: Sequence[_LeftOut]) -> dict[str, Any]:
    some = [network.told for network in networks]
    measured_s = [network.median_s for network in some]
    estimates_s = [s * math.exp(one.log) for one, s in zip(networks, measured_s, strict=True)]
    return {
        "estimate": asdict(_errors(estimates_s, measured_s, networks[0].width)),
        "plain_sum": asdict(_errors([network.sum_s for network in some], measured_s, 0.0)),
        "noise": _noise(some),
        "networks": [
            {"measured_ms": s * 1e3, "estimated_ms": e * 1e3, "sum_ms": network.sum_s * 1e3}
            for network, s, e in zip(some, measured_s, estimates_s, strict=True)
        ],
    }


def _errors(told_s: Sequence[float], measured_s: Sequence[float], width: float) -> Errors:
    factor = math.exp(width)
    return Errors.of([Estimate.within(s, factor, Source.PREDICTED) for s in told_s], measured_s)


def _noise(networks: Sequence[WholeNetwork]) -> dict[str, float] | None:
    """Of rounds: distance to the median of the network's other rounds, and agreement on the order."""
    levels = [network.levels_s for network in networks if len(network.levels_s) > 1]
    if not levels:
        return None
    off = [
        abs(level_s / statistics.median([*levels_s[:index], *levels_s[index + 1 :]]) - 1)
        for levels_s in levels
        for index, level_s in enumerate(levels_s)
    ]
    first, last = (np.array([levels_s[end] for levels_s in levels]) for end in (0, -1))
    return {
        "median": statistics.median(off),
        "within_5": statistics.fmean(value <= 0.05 for value in off),
        "spearman_first_last": spearman(first, last),
    }


def _text(found: Mapping[str, Any]) -> str:
    lines = [", ".join(f"{name} {_number(value)}" for name, value in found["model"].items())]
    for name, group in found["groups"].items():
        lines.append(f"{name}, {group['estimate']['count']} networks")
        for kind in ("estimate", "plain_sum"):
            errors = group[kind]
            lines.append(
                f"  {kind:<10} median error {errors['median']:.1%}, within 5 % {errors['within_5']:.0%}, "
                f"within 10 % {errors['within_10']:.0%}, Spearman {errors['spearman']:.3f}, "
                f"inside interval {errors['coverage']:.0%}"
            )
        if noise := group["noise"]:
            lines.append(
                f"  noise      a round is {noise['median']:.1%} (median) from the others, within 5 % "
                f"{noise['within_5']:.0%}; Spearman of first and last {noise['spearman_first_last']:.3f}"
            )
    return "\n".join(lines)


def _number(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {number:.3g}" for name, number in value.items()) + ")"
    return f"{value:.3g}"


if __name__ == "__main__":
    run_benchmark(main)
