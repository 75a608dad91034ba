"""``deploy``: compiles an architecture with weights for a target into a bundle that runs there."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezenas_tvm.cli import Result, run_command
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.options import add_resolution, check_buildable, results_folder, trials_count

EXAMPLE = (
    "squeezenas-tvm deploy squeezenas-lat-small --target local-cpu --resolution 512x1024 \\\n"
    "    --weights lat_small.pth --trials 64 --out lat-small-bundle"
)
KEPT = "no bundle was made; what was measured is stored, and the same command goes on from there"
CLASS_LISTS = {19: "cityscapes", 11: "camvid"}

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("architecture", help="name of a shipped architecture, or a YAML file")
    parser.add_argument("--target", required=True, help="device to build for: a name, or a YAML file")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors or .pth; random ones if left out"
    )
    add_resolution(parser, "1024x2048")
    parser.add_argument(
        "--trials",
        type=trials_count,
        default=0,
        metavar="N",
        help="schedules tried for each kernel; 0 tunes nothing and uses stored records (default %(default)s)",
    )
    parser.add_argument(
        "--measurements", type=Path, metavar="DIR", help="stored records (default results/TARGET)"
    )
    parser.add_argument("--tracker", metavar="HOST:PORT", help="TVM RPC tracker of a board, for tuning")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")


def execute(args: argparse.Namespace) -> Result:
    """Tune if asked, compile with the best schedules known, write the bundle."""
    from search.architecture import load_architecture
    from search.resolution import Resolution
    from targets import load_target

    architecture, target = load_architecture(args.architecture), load_target(args.target)
    resolution = Resolution.parse(args.resolution)
    check_buildable(target)
    if architecture.num_classes not in CLASS_LISTS:
        raise UsageError(
            f"{architecture.name}: no class list for {architecture.num_classes} classes; "
            f"there are lists for {' and '.join(map(str, CLASS_LISTS))}"
        )
    try:
        return deploy(
            architecture,
            target,
            resolution,
            out=args.out,
            weights=args.weights,
            trials=args.trials,
            measurements=results_folder(target.name, args.measurements),
            tracker=args.tracker,
        )
    except OSError as error:
        raise FailedWork(
            f"{error.filename or args.out}: {error.strerror or error}; no bundle was made; "
            "make room there or name another --out, and give the same command again"
        ) from error


def deploy(
    architecture: Any,
    target: Any,
    resolution: Any,
    *,
    out: Path,
    weights: Path | None,
    trials: int,
    measurements: Path,
    tracker: str | None = None,
) -> Result:
    """Make a bundle of an architecture (see ``execute``); returns what was made.

    Raises:
        InvalidWeights, UsageError: before anything long is started.
    """
    from cost_models.interrupts import HeldInterrupts
    from cost_models.kernels import split_into_kernels
    from cost_models.onnx_export import to_onnx
    from search.spaces import camera_network
    from search.weights import load_weights_apart
    from squeezenas_tvm.bundle import assemble

    with tempfile.TemporaryDirectory() as scratch, assemble(out) as folder:
        tensors = load_weights_apart(architecture, weights, Path(scratch)) if weights else None
        graph = camera_network(architecture.network())
        inputs = {"frame": (1, *resolution, 3)}
        model = to_onnx(graph, inputs, tensors, name=architecture.name)
        kernels = list(dict.fromkeys(split_into_kernels(graph, inputs)))
        if trials:
            from cost_models.effort import Effort
            from squeezenas_tvm.measuring import measure_kernels

            effort = Effort.alone(trials)
            measure_kernels(target, kernels, measurements, effort=effort, tracker=tracker, title="tune")
        with HeldInterrupts():
            compiled = _compile(model, kernels, target, measurements, folder)
        _write(folder, architecture, target, resolution, weights, compiled)
    return _result(out, architecture, resolution, weights, compiled)


def _compile(model: Any, kernels: Sequence[Any], target: Any, measurements: Path, folder: Path) -> Any:
    """Compile with the fastest schedules on record; write network.onnx and model.so."""
    import onnx

    from cost_models.lowering import compile_lowered, export, lower

    tvm_target = target.tvm_target()
    tuned = _tuned_modules(kernels, target, tvm_target, measurements)
    compiled = compile_lowered(lower(model, tvm_target), tvm_target, tuned)
    onnx.save(model, folder / "network.onnx")
    export(compiled.executable, folder / "model.so")
    if compiled.default:
        log.warning(
            "%d of %d kernels run on default schedules: nothing better is on record in %s",
            len(compiled.default),
            len(compiled.default) + len(compiled.tuned),
            measurements,
        )
    return compiled


def _tuned_modules(
    kernels: Sequence[Any], target: Any, tvm_target: Any, measurements: Path
) -> dict[str, Any]:
    """Kernels whose tuned schedule is on record and beats the default one (see ``profiler``)."""
    from cost_models.environment import environment
    from cost_models.store import MeasurementStore
    from cost_models.tuned import tuned_modules

    path = measurements / "measurements.sqlite"
    if not path.exists():
        return {}
    with MeasurementStore.open(path, create=False) as store:
        return tuned_modules(store, environment(target), kernels, tvm_target)


def _write(
    folder: Path, architecture: Any, target: Any, resolution: Any, weights: Path | None, compiled: Any
) -> None:
    """Seal the bundle: manifest, labels, runner."""
    from cost_models.environment import environment
    from search.spaces import IMAGENET_MEAN, IMAGENET_STD
    from search.weights import sha256
    from squeezenas_tvm.bundle import Manifest, seal

    manifest = Manifest(
        name=architecture.name,
        architecture=architecture.model_dump(exclude_none=True),
        target=target.name,
        device="cpu",
        fingerprint=environment(target),
        height=resolution.height,
        width=resolution.width,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        weights_source=weights.name if weights else None,
        weights_sha256=sha256(weights) if weights else None,
        trained=weights is not None,
        tuned_kernels=len(compiled.tuned),
        default_kernels=len(compiled.default),
    )
    seal(folder, manifest, dataset=CLASS_LISTS[architecture.num_classes])


def _result(out: Path, architecture: Any, resolution: Any, weights: Path | None, compiled: Any) -> Result:
    document = {
        "bundle": str(out),
        "name": architecture.name,
        "resolution": str(resolution),
        "weights": str(weights) if weights else None,
        "tuned_kernels": len(compiled.tuned),
        "default_kernels": len(compiled.default),
        "files": sorted(path.name for path in out.iterdir()),
    }
    lines = [
        f"{architecture.name} at {resolution}: {out}",
        f"kernels: {document['tuned_kernels']} tuned, {document['default_kernels']} on default schedules",
        f"module: {out / 'model.so'} (uint8 RGB frame 1x{resolution}x3 in, class indices 1x{resolution} out)",
        f"next: squeezenas-tvm run {out} IMAGE --out seen",
    ]
    if weights is None:
        lines.insert(1, "weights: random, so its labels mean nothing; give --weights FILE for real ones")
    return Result(document=document, text="\n".join(lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("deploy", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


if __name__ == "__main__":
    sys.exit(main())
