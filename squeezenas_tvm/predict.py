"""``predict``: latency of networks on a target without the device, and where each number comes from."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.options import add_shapes, add_table
from squeezenas_tvm.terminal.shares import share_text

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel
    from search.resolution import Resolution
    from squeezenas_tvm.predicting.predict import Outside, PredictedNetwork
    from targets import PublishedDevice, Target

EXAMPLE = (
    "squeezenas-tvm predict squeezenas-lat-small --target local-cpu --resolution 256x512\n"
    "squeezenas-tvm predict mine.yaml --target jetson-xavier\n"
    "squeezenas-tvm predict unet.onnx --target local-cpu"
)

_TUNED = "Latencies are of tuned kernels; without tuning: --default-schedules."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "architecture",
        nargs="+",
        help="names of shipped architectures, YAML files of others, ONNX files of any networks or folders of "
        "such",
    )
    parser.add_argument("--target", required=True, help="device: a name, or a YAML file")
    add_table(parser)
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        help="height and width of the image, pixels (default 1024x2048; of an ONNX file its own)",
    )
    add_shapes(parser)
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        help="of weights and maps, where the target lists it (default: an ONNX file's own, else the table's)",
    )
    parser.add_argument(
        "--default-schedules",
        action="store_true",
        help="latency without tuning (default: of kernels that were tuned)",
    )
    parser.add_argument(
        "--check", action="store_true", help="also try whether TVM can import the ONNX files; exit 1 if not"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="first measure a few kernels of the shipped table on this machine's processor, in seconds; they "
        "are kept in results/TARGET and scale that table from then on",
    )


def execute(args: argparse.Namespace) -> Result:
    """Add up what the kernels of each network cost: measured, else predicted, else by the target's prior."""
    from search.resolution import Resolution
    from squeezenas_tvm.bundles.network_files import with_folders
    from squeezenas_tvm.predicting.asked import asked_networks
    from squeezenas_tvm.predicting.models import Models
    from squeezenas_tvm.predicting.predict import predict_network
    from squeezenas_tvm.profiling.energy import usual_power
    from targets import PublishedDevice, load_device

    target = load_device(args.target)
    args.architecture = with_folders(args.architecture)
    if isinstance(target, PublishedDevice):
        return _of_others(args, target)
    target.require_timings("predict")
    if args.dtype:
        target.require_dtype(args.dtype)
    resolution = None if args.resolution is None else Resolution.read(args.resolution)
    networks = asked_networks(args.architecture, resolution, dict(args.shape))
    if args.calibrate:
        from squeezenas_tvm.profiling.calibrate_processor import calibrate_processor

        calibrate_processor(target, args.table)
    networks = [replace(network, dtype=args.dtype or network.dtype) for network in networks]
    models = Models(target, args.table, default_schedules=args.default_schedules)
    model = models.of(args.dtype)
    power_w = usual_power(model, args.table)
    predicted = [predict_network(network, models.of(network.dtype), power_w) for network in networks]
    faults = _faults(args, resolution, target) if args.check else {}
    described = [_document(network) for network in predicted]
    for name, entry in zip(args.architecture, described, strict=True):
        entry["tvm"] = {"imports": faults[name] is None, "fault": faults[name]} if name in faults else None
    processor = asdict(model.processor) if model.processor else None
    document = {"target": model.target, "processor": processor, "power_w": power_w, "networks": described}
    document["schedules"] = "default" if args.default_schedules else "tuned"
    text = "\n".join([_text(predicted, model, power_w), *_hints(args), *_checks_text(faults)])
    return Result(document=document, text=text, exit_code=int(any(faults.values())))


def _of_others(args: argparse.Namespace, device: "PublishedDevice") -> Result:
    """Add up the rows of a table that others measured."""
    from search.resolution import Resolution
    from squeezenas_tvm.errors import UsageError
    from squeezenas_tvm.predicting.asked import asked_of_published
    from squeezenas_tvm.predicting.predict import predict_network

    given = {"--dtype": args.dtype, "--default-schedules": args.default_schedules}
    given |= {"--check": args.check, "--calibrate": args.calibrate, "--shape": args.shape}
    if wrong := [option for option, value in given.items() if value]:
        raise UsageError(f"{', '.join(wrong)}: {device.name} is a table that others measured; leave it out")
    size = None if args.resolution is None else Resolution.parse(args.resolution)
    asked, model = asked_of_published(args.architecture, device, size, args.table)
    predicted = [predict_network(network, model) for network in asked]
    described = [_document(network) for network in predicted]
    document = {"target": device.name, "processor": None, "power_w": None, "networks": described}
    return Result(document=document | {"schedules": None}, text=_text(predicted, model, None))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(
        "predict", add_arguments, execute, argv, example=EXAMPLE, kept="what was measured is kept"
    )


def _faults(
    args: argparse.Namespace, resolution: "Resolution | None", target: "Target"
) -> dict[str, str | None]:
    """ONNX file -> why TVM cannot import it, or None."""
    from cost_models.lowering.import_check import import_fault
    from squeezenas_tvm.bundles.network_files import is_onnx, shapes_of

    files = [name for name in args.architecture if is_onnx(name)]
    shapes = shapes_of(map(Path, files), dict(args.shape))
    return {name: import_fault(Path(name), resolution, target, shapes[Path(name)]) for name in files}


def _hints(args: argparse.Namespace) -> list[str]:
    """What was not asked for."""
    from squeezenas_tvm.bundles.network_files import is_onnx

    hints = [] if args.default_schedules else [_TUNED]
    if any(map(is_onnx, args.architecture)) and not args.check:
        hints.append("Whether TVM imports ONNX files was not tried: --check.")
    return hints


def _checks_text(faults: Mapping[str, str | None]) -> list[str]:
    return [fault or f"{name}: TVM imports it." for name, fault in faults.items()]


def _document(network: "PredictedNetwork") -> dict[str, Any]:
    return {
        "name": network.name,
        "resolution": network.resolution,
        "dtype": network.dtype,
        "notes": list(network.notes),
        "latency_ms": {
            "median": network.median_s * 1e3,
            "low": network.low_s * 1e3,
            "high": network.high_s * 1e3,
        },
        "sources": dict(network.sources),
        "macs": network.macs,
        "params": network.params,
        "bytes_moved": network.bytes_moved,
        "peak_memory_bytes": network.peak_memory_bytes,
        "planned_memory_bytes": network.planned_memory_bytes,
        "energy_mj": None if network.energy_j is None else network.energy_j * 1e3,
        "calibrated": network.calibrated,
        "unsure": list(network.unsure),
        "outside": [
            {"operation": o.operation, "names": list(o.names), "kernels": o.kernels, "share": o.share}
            for o in network.outside
        ],
        "kernels": [
            {
                "kernel": kernel.kernel,
                "calls": kernel.calls,
                "median_ms": kernel.median_s * 1e3,
                "low_ms": kernel.low_s * 1e3,
                "high_ms": kernel.high_s * 1e3,
                "source": kernel.source,
            }
            for kernel in network.kernels
        ],
    }


def _text(networks: "Sequence[PredictedNetwork]", model: "CostModel", power_w: float | None) -> str:
    from squeezenas_tvm.bundles.network_files import is_onnx

    rows = []
    for network in networks:
        interval = f"{network.low_s * 1e3:.2f} to {network.high_s * 1e3:.2f}"
        median, shares = f"{network.median_s * 1e3:.2f}", share_text(network.sources)
        rows.append([network.name, network.resolution, median, interval, shares])
    lines = [table(["network", "at", "ms", "low to high", "of its time"], rows), ""]
    files = ", ONNX files as they are" if any(is_onnx(network.name) for network in networks) else ""
    ends = "" if model.published else ", from camera frame to class indices"
    lines.append(f"On {model.target}{ends}{files}: {model.basis}.")
    if model.published and (remarks := model.published.device.remarks):
        lines.append(f"{remarks[0].upper()}{remarks[1:]}.")
    lines += [_counts_text(network) for network in networks]
    lines += [f"{network.name}: {'; '.join(network.notes)}." for network in networks if network.notes]
    if power_w is not None:
        lines.append(f"mJ: at {power_w:.3g} W, which networks measured there draw (run --energy).")
    if any("prior" in network.sources for network in networks):
        lines.append(f"prior: a physical model, {_origin(model)}.")
    for network in networks:
        if network.outside:
            lines.append(f"{network.name}: estimated by the prior: {_outside_text(network.outside)}.")
    return "\n".join(lines)


def _counts_text(network: "PredictedNetwork") -> str:
    from search.costs.objectives import shown

    costs = {"macs": network.macs, "params": network.params}
    costs |= {"bytes": network.bytes_moved, "memory": network.peak_memory_bytes}
    said = [shown(name, value) for name, value in costs.items()]
    said[-1] += f" ({network.planned_memory_bytes / 2**20:.3g} in TVM's plan)"
    if network.dtype != "float32":
        said.append(f"in {network.dtype}")
    if network.energy_j is not None:
        said.append(f"{network.energy_j * 1e3:.3g} mJ")
    return f"{network.name}: {', '.join(said)}."


def _outside_text(operations: "Sequence[Outside]") -> str:
    """``ConvTranspose up1 and 1 more (2 kernels, 12 % of the time)``."""
    said = []
    for outside in operations:
        first, *others = outside.names
        more = f" and {len(others)} more" if others else ""
        kernels = f"{outside.kernels} kernel{'s' if others else ''}"
        said.append(f"{outside.operation} {first}{more} ({kernels}, {outside.share:.0%} of the time)")
    return ", ".join(said)


def _origin(model: "CostModel") -> str:
    if model.prior is None:
        return "work and traffic at the rates of those kernels that were measured"
    if model.table is None and model.predictor is None:
        return f"{model.prior.basis}: {model.prior.origin}"
    return model.prior.origin


if __name__ == "__main__":
    leave(main())
