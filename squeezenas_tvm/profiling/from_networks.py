"""``profile --from-networks``: a target from a few networks that somebody has measured on it, anyhow."""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, positive_int, table

if TYPE_CHECKING:
    from cost_models.device_models.fitted_device import FittedDevice


def add_few_networks(parser: argparse.ArgumentParser) -> None:
    """``--choose-networks`` and ``--from-networks``: ``profile`` where kernels cannot be measured."""
    few = parser.add_argument_group(
        "few networks instead of kernels, for a device that TVM cannot measure on"
    ).add_mutually_exclusive_group()
    few.add_argument(
        "--choose-networks",
        type=positive_int,
        metavar="N",
        help="write the N networks of the space that tell most, and a CSV file for their latencies",
    )
    few.add_argument(
        "--from-networks",
        type=Path,
        metavar="FILE.csv",
        help="fit the target to measured networks: columns network, resolution, latency_ms",
    )


def few_networks(args: argparse.Namespace) -> Result:
    """What these options ask for."""
    from squeezenas_tvm.profiling.choose_networks import choose

    return choose(args) if args.choose_networks else fit_networks(args)


def fit_networks(args: argparse.Namespace) -> Result:
    """Fit the target to the networks of a CSV file, and save what every other command then estimates with."""
    from cost_models.device_models.fitted_device import FILE, FittedDevice
    from cost_models.lookup import data_sheet, other_devices, results_folder
    from squeezenas_tvm.profiling.measured_networks import read_networks
    from targets import load_target

    target = load_target(args.target)
    networks, notes = read_networks(args.from_networks)
    others = other_devices(target, args.dtype, [network.seconds for network in networks])
    measured = f"{args.from_networks.name}, {date.today().isoformat()}"
    start = data_sheet(target, args.dtype)
    fitted = FittedDevice.fit(target.name, networks, others, measured=measured, start=start, dtype=args.dtype)
    path = results_folder(target.name, args.out, args.dtype) / FILE
    command = f"squeezenas-tvm profile --target {args.target} --from-networks {args.from_networks}"
    fitted.save(path, made_by=command)
    document = _document(fitted, list(others), path) | {"notes": notes}
    return Result(document=document, text=_text(document))


def _document(fitted: "FittedDevice", others: Sequence[str], path: Path) -> dict[str, Any]:
    errors = fitted.model.left_out.tolist()
    return {
        "target": fitted.target,
        "origin": fitted.origin,
        "networks": [
            {"name": name, "measured_ms": 1e3 * s, "left_out_ms": 1e3 * s * (1 + error), "error": error}
            for (name, s), error in zip(fitted.networks, errors, strict=True)
        ],
        "left_out": {"mean": statistics.fmean(map(abs, errors)), "worst": max(map(abs, errors))},
        "interval_factor": fitted.model.error_factor,
        "others": list(others),
        "used_others": list(fitted.others),
        "weights": dict(fitted.model.weights),
        "path": str(path),
    }


def _text(document: Mapping[str, Any]) -> str:
    rows = [
        [n["name"], f"{n['measured_ms']:.2f}", f"{n['left_out_ms']:.2f}", f"{100 * n['error']:+.1f}"]
        for n in document["networks"]
    ]
    error = document["left_out"]
    weights = sorted(document["weights"].items(), key=lambda item: -item[1])
    made_of = ", ".join(f"{weight:.0%} {name}" for name, weight in weights if weight >= 0.005)
    return "\n".join(
        [
            table(["network", "measured ms", "told by the others ms", "error %"], rows),
            "",
            f"Each told by the others: mean error {100 * error['mean']:.1f} %, worst "
            f"{100 * error['worst']:.1f} %. Nine of ten networks like them lie within a factor of "
            f"{document['interval_factor']:.2f}.",
            f"Averaged: {made_of}; other devices asked: {', '.join(document['others']) or 'none'}.",
            *document["notes"],
            f"Fitted: {document['path']}; other commands estimate with it what was not measured.",
        ]
    )
