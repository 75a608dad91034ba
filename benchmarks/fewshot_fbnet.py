"""Ten measured networks of a new device, and all others: how well are they told?

    python benchmarks/fewshot_fbnet.py --data FILE.npz --samples 10 --draws 20 --json

The file holds latencies of FBNet networks on several devices, as published with HELP (NeurIPS 2021):
``architectures`` (networks, 22) of operations 0 to 8, ``devices`` (names), and ``latency_ms`` (devices,
networks).

Each device in turn is the new one. A draw offers half of the networks, ``choose_networks`` picks among them
(``--samples``), their latencies are looked up, and ``fit_device`` tells those of all networks that were not
picked. The other devices serve as tables: the latencies of their networks, made additive by position and
operation, which is what a table of blocks would give, and has less noise. Settings of the same chip (NAME_1,
NAME_32, ...) are left out with it, unless ``--same-chip`` keeps them. No name means anything else but in the
means of groups, and nothing is chosen by looking at networks that were not picked.

Beside every number stands that of the constant predictor, the median of the picked networks: where latencies
hardly differ, a constant is right as well. A rank correlation of a constant is 0.

Devices whose latencies are exactly additive are sums over a table of blocks, not measured networks (pixel3
is, as raspi4, eyeriss and fpga are elsewhere): they are marked, and kept out of the means.

How regular a device is at all, ``table_spearman`` and ``table_error`` say: a table of its own blocks, fitted
to all its networks, gets no further. On phones that is not far: their timings drift by a tenth and more.

The last thousand networks were measured in calmer conditions than the rest on the phones: figures that others
report for them (``--test 1000``) are higher than those for all.
"""

import argparse
import json
import re
import statistics
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fbnet_space
import numpy as np
import numpy.typing as npt
from refusals import run_benchmark

from cost_models.device_models.fewshot import LEAST_NETWORKS, TERMS, choose_networks, fit_device, work_of
from cost_models.kernel_models.accuracy import spearman
from squeezenas_tvm.cli import table

Vector = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]

_POSITIONS, _OPERATIONS = 22, len(fbnet_space.OPERATIONS)
_EXACT = 1e-5  # relative: what float32 leaves of a sum


class BadData(Exception):
    """The file is not what this benchmark reads."""

    exit_code = 2


def load(path: Path) -> tuple[Choices, list[str], Vector]:
    """Architectures, device names, and seconds (devices, networks). Raises BadData."""
    try:
        with np.load(path, allow_pickle=False) as data:
            choices = data["architectures"].astype(np.int64)
            names, seconds = [str(name) for name in data["devices"]], data["latency_ms"].astype(float) / 1e3
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadData(
            f"{path}: not a file of networks and latencies ({error}); "
            "allowed: .npz with architectures, devices and latency_ms"
        ) from None
    if choices.ndim != 2 or choices.shape[1] != _POSITIONS or seconds.shape != (len(names), len(choices)):
        raise BadData(
            f"{path}: architectures {choices.shape}, {len(names)} devices, latency_ms {seconds.shape}; "
            f"allowed: (networks, {_POSITIONS}), any number of devices, (devices, networks)"
        )
    if choices.min() < 0 or choices.max() >= _OPERATIONS:
        raise BadData(
            f"{path}: operations {choices.min()} to {choices.max()}; allowed: 0 to {_OPERATIONS - 1}"
        )
    bad = [name for name, row in zip(names, seconds, strict=True) if not (np.isfinite(row) & (row > 0)).all()]
    if bad:
        raise BadData(f"{path}: {bad[0]} has latencies that are not above 0 ms and finite; leave them out")
    return choices, names, seconds


def work_of_all(choices: Choices) -> Vector:
    """(networks, TERMS) of networks given as operations."""
    blocks = np.array(
        [[work_of(p.kernels(o)) for o in fbnet_space.OPERATIONS] for p in fbnet_space.positions()]
    )
    work = np.asarray(
        blocks[np.arange(_POSITIONS), choices].sum(axis=1) + work_of(fbnet_space.fixed_kernels())
    )
    work[:, TERMS.index("network")] = 1.0
    return work


def additive(choices: Choices, seconds: Vector) -> Vector:
    """Latencies (networks) as sums over a table of blocks, by least absolute relative errors."""
    ones = np.zeros((len(choices), _POSITIONS * _OPERATIONS))
    for position in range(_POSITIONS):
        ones[np.arange(len(choices)), _OPERATIONS * position + choices[:, position]] = 1.0
    weights, ridge = 1 / seconds, 1e-9 * np.eye(ones.shape[1])
    for _ in range(20):
        weighted = ones * weights[:, None]
        normal = weighted.T @ weighted
        costs = np.linalg.solve(normal + ridge * normal.trace(), weighted.T @ (seconds * weights))
        fitted: Vector = np.maximum(ones @ costs, seconds.min() / 2)
        weights = 1 / fitted / np.sqrt(np.maximum(np.abs(seconds / fitted - 1), 0.005))
    return fitted


def chip_of(name: str, names: Sequence[str]) -> str:
    """NAME of NAME_1, NAME_32 and so on (batch sizes) where there are several, else the name."""
    match = re.fullmatch(r"(.+)_(\d+)", name)
    if not match or int(match[2]).bit_count() != 1:
        return name
    alike = [n for n in names if re.fullmatch(re.escape(match[1]) + r"_\d+", n)]
    batches = [int(n.rpartition("_")[2]) for n in alike]
    return match[1] if len(alike) > 1 and all(b.bit_count() == 1 for b in batches) else name


def score(predicted: Vector, measured: Vector) -> dict[str, float]:
    """Rank, mean relative error and share within 10 % of predictions (networks)."""
    errors = np.abs(predicted / measured - 1)
    return {
        "spearman": spearman(predicted, measured),
        "error": float(errors.mean()),
        "within_10": float((errors <= 0.1).mean()),
    }


def one_draw(
    work: Vector, seconds: Vector, others: Vector, options: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Choose, look up, tell the rest."""
    allowed, samples = len(work) - options.test, options.samples
    offered = np.random.default_rng(seed).permutation(allowed)[: max(allowed // 2, samples)]
    columns = others if others.size else work
    chosen = offered[choose_networks(columns[offered], samples)]
    tested = np.arange(allowed if options.test else 0, len(work))
    rest = np.setdiff1d(tested, chosen)
    model = fit_device(work[chosen], seconds[chosen], others[chosen])
    predicted = model.predict_s(work[rest], others[rest])
    constant = np.full(len(rest), np.median(seconds[chosen]))
    factor = model.error_factor
    covered = (predicted / factor <= seconds[rest]) & (seconds[rest] <= predicted * factor)
    return {
        **score(predicted, seconds[rest]),
        "within_interval": float(covered.mean()),
        "interval_factor": factor,
        "constant": score(constant, seconds[rest]),
    }


GROUPS = {  # for the means; a name that none of them knows stands alone
    "batch-1 GPUs": r"(titan.*|\d+ti)_1",
    "batch-32/64 GPUs": r"(titan.*|\d+ti)_(32|64)",
    "Xeons": r"(gold|silver)_.*",
    "phones": r"(samsung|pixel|essential).*",
}


def group_of(name: str) -> str | None:
    return next((group for group, pattern in GROUPS.items() if re.fullmatch(pattern, name)), None)


def mean_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each number, those of the constant predictor too."""
    numbers = {name: statistics.fmean(row[name] for row in rows) for name in rows[0] if name != "constant"}
    constant = {name: statistics.fmean(row["constant"][name] for row in rows) for name in rows[0]["constant"]}
    return numbers | {"constant": constant}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Every device as the new one, and means of groups."""
    choices, names, seconds = load(options.data)
    if not LEAST_NETWORKS <= options.samples < len(choices) - options.test:
        raise BadData(
            f"--samples {options.samples}: allowed: at least {LEAST_NETWORKS}, and fewer than the "
            f"{len(choices) - options.test} networks to choose among"
        )
    work = work_of_all(choices)
    tables = np.array([additive(choices, row) for row in seconds]).T
    chips = [chip_of(name, names) for name in names]
    devices = {}
    for index, name in enumerate(names):
        keep = [
            other
            for other in range(len(names))
            if not options.alone and other != index and (options.same_chip or chips[other] != chips[index])
        ]
        rows = [
            one_draw(work, seconds[index], tables[:, keep], options, seed) for seed in range(options.draws)
        ]
        residual = float(np.abs(tables[:, index] / seconds[index] - 1).mean())
        devices[name] = mean_of(rows) | {"measured": residual > _EXACT, "table_error": residual}
        tested = slice(len(choices) - options.test if options.test else 0, None)
        devices[name]["table_spearman"] = spearman(tables[tested, index], seconds[index, tested])
        devices[name]["worst_spearman"] = min(row["spearman"] for row in rows)
    return {
        "data": options.data.name,
        "networks": len(choices),
        "samples": options.samples,
        "draws": options.draws,
        "tested": options.test or "all that were not picked",
        "other_devices": "none" if options.alone else "same chip too" if options.same_chip else "other chips",
        "devices": devices,
        "groups": groups_of(devices),
    }


def groups_of(devices: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over the measured devices of each group, and of all."""
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, row in devices.items():
        if row["measured"]:
            scores = {key: row[key] for key in (*_SCORES, "constant")}
            members["all measured"].append(scores)
            members[group_of(name) or name].append(scores)
    return {group: mean_of(rows) | {"devices": len(rows)} for group, rows in members.items()}


_SCORES = ("spearman", "error", "within_10", "within_interval", "table_spearman")


def as_text(document: dict[str, Any]) -> str:
    """The document for people."""

    def cells(name: str, row: dict[str, Any]) -> list[str]:
        constant = row["constant"]
        return [
            name,
            f"{row['spearman']:.3f} ({row['table_spearman']:.3f})",
            *(f"{100 * row[key]:.1f} ({100 * constant[key]:.1f})" for key in ("error", "within_10")),
            f"{100 * row['within_interval']:.0f}",
        ]

    rows = [
        cells(name + ("" if row["measured"] else " (a sum, not measured)"), row)
        for name, row in document["devices"].items()
    ]
    rows += [cells(f"mean of {row['devices']}: {name}", row) for name, row in document["groups"].items()]
    head = ["device", "rank (own table)", "error % (constant)", "within 10 % (constant)", "in interval %"]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--samples", type=int, default=10, help="measured networks (default %(default)s)")
    parser.add_argument("--draws", type=int, default=20, help="averaged over (default %(default)s)")
    parser.add_argument(
        "--test",
        type=int,
        default=0,
        metavar="N",
        help="tell the last N networks alone, and choose among the others: the split of HELP has 1000",
    )
    parser.add_argument("--alone", action="store_true", help="no other devices: physical work alone")
    parser.add_argument("--same-chip", action="store_true", help="keep other settings of the same chip")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    document = run(options)
    print(json.dumps(document, indent=2) if options.json else as_text(document))


if __name__ == "__main__":
    run_benchmark(main)
