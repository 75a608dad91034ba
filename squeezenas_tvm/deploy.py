"""``deploy``: compiles an architecture with weights for a target into a bundle that runs there."""

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, run_command
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.options import add_dtype, add_resolution, trials_count

if TYPE_CHECKING:
    from squeezenas_tvm.bundles.assemble import Manifest

EXAMPLE = (
    "squeezenas-tvm deploy squeezenas-lat-small --target local-cpu --resolution 512x1024 \\\n"
    "    --weights lat_small.pth --trials 64 --out lat-small-bundle\n"
    "squeezenas-tvm deploy squeezenas-lat-small --target jetson-xavier --weights lat_small.pth \\\n"
    "    --trials 64 --tracker 127.0.0.1:9190 --out for-xavier"
)
KEPT = "no bundle was made; what was measured is stored, and the same command goes on from there"
CLASS_LISTS = {19: "cityscapes", 11: "camvid"}

log = logging.getLogger("squeezenas_tvm.deploy")  # also when run with -m


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("architecture", help="name of a shipped architecture, or a YAML file")
    parser.add_argument("--target", required=True, help="device to build for: a name, or a YAML file")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help=".safetensors or .pth (default the architecture's, else random)",
    )
    add_resolution(parser, "1024x2048")
    add_dtype(parser)
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
    parser.add_argument("--tracker", metavar="HOST:PORT", help="TVM RPC tracker of a board, for --trials")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")


def execute(args: argparse.Namespace) -> Result:
    """Tune if asked, compile with the best schedules known, write the bundle."""
    from cost_models.lookup import results_folder
    from search.architecture import load_architecture
    from search.resolution import Resolution
    from targets import TargetError, load_target
    from targets.rpc.tracker import tracker_address
    from targets.toolchain.tools import find_tools

    architecture, target = load_architecture(args.architecture), load_target(args.target)
    resolution = Resolution.parse(args.resolution)
    find_tools(target, args.dtype)  # missing ones are named before anything long, and so is a missing tracker
    if args.trials and target.kind == "board" and not args.tracker:
        try:
            tracker_address(target)
        except TargetError as error:
            raise UsageError(f"--trials {args.trials} needs the board: {error}") from None
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
            weights=args.weights or architecture.weights_path,
            trials=args.trials,
            measurements=results_folder(target.name, args.measurements, args.dtype),
            dtype=args.dtype,
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
    dtype: str = "float32",
    tracker: str | None = None,
) -> Result:
    """Make a bundle of an architecture (see ``execute``); returns what was made.

    Raises:
        InvalidWeights, TargetError, UsageError: before anything long is started.
    """
    from cost_models.database.environment import environment
    from cost_models.ir.fusion import split_into_kernels
    from cost_models.onnx_io.exporter import to_onnx
    from search.networks.weights import load_weights_apart
    from search.spaces.camera import camera_network
    from squeezenas_tvm.bundles.assemble import assemble
    from targets.support.interrupts import HeldInterrupts

    fingerprint = environment(target, dtype)
    with tempfile.TemporaryDirectory() as scratch, assemble(out) as folder:
        tensors = load_weights_apart(architecture, weights, Path(scratch)) if weights else None
        graph = camera_network(architecture.network())
        inputs = {"frame": (1, *resolution, 3)}
        model = to_onnx(graph, inputs, tensors, name=architecture.name, dtype=dtype)
        kernels = list(dict.fromkeys(split_into_kernels(graph, inputs)))
        if trials:
            from cost_models.tuning.effort import Effort
            from squeezenas_tvm.profiling.measure import measure_kernels

            measure_kernels(
                target,
                kernels,
                measurements,
                effort=Effort.alone(trials),
                dtype=dtype,
                tracker=tracker,
                title="tune",
            )
        with HeldInterrupts():
            compiled = _compile(model, kernels, target, fingerprint, measurements, folder)
        manifest = _write(folder, architecture, target, fingerprint, resolution, weights, compiled)
    return _result(out, target, manifest, weights)


def _compile(
    model: Any,
    kernels: Sequence[Any],
    target: Any,
    fingerprint: Mapping[str, Any],
    measurements: Path,
    folder: Path,
) -> Any:
    """Compile with the fastest schedules on record; write network.onnx and model.so."""
    import onnx

    from cost_models.lowering.lower import compile_lowered, export, lower
    from targets.toolchain.tools import find_tools

    tvm_target, tools = target.tvm_target(), find_tools(target, fingerprint["dtype"])
    tools.install()
    tuned = _tuned_modules(kernels, fingerprint, tvm_target, measurements)
    compiled = compile_lowered(lower(model, tvm_target), tvm_target, tuned)
    onnx.save(model, folder / "network.onnx")
    export(compiled.executable, folder / "model.so", tools)
    if _is_untuned(target, compiled):
        log.warning(_untuned(target, len(compiled.default)))
    elif compiled.default:
        log.warning(
            "%d of %d kernels run on default schedules: nothing better is on record in %s",
            len(compiled.default),
            len(compiled.default) + len(compiled.tuned),
            measurements,
        )
    return compiled


def _is_untuned(target: Any, compiled: Any) -> bool:
    """Our own default schedules for CPUs are fair; TVM's for GPUs only run."""
    return target.uses_cuda and not compiled.tuned


def _untuned(target: Any, count: int) -> str:
    again = "--trials 64" if target.kind == "local" else "--trials 64 --tracker HOST:PORT"
    return (
        f"UNTUNED: all {count} kernels run on TVM's default GPU schedules (DLight), far slower than tuned "
        f"ones; tune them on the device: the same command with {again}"
    )


def _tuned_modules(
    kernels: Sequence[Any], fingerprint: Mapping[str, Any], tvm_target: Any, measurements: Path
) -> dict[str, Any]:
    """Kernels whose tuned schedule is on record and beats the default one (see ``profiler``)."""
    from cost_models.database.history import History
    from cost_models.database.store import MeasurementStore
    from cost_models.errors import UnknownEnvironment
    from cost_models.lowering.best_schedules import tuned_modules

    path = measurements / "measurements.sqlite"
    if not path.exists():
        return {}
    with MeasurementStore.open(path, create=False) as store:
        try:
            return tuned_modules(History.of(store, fingerprint), kernels, tvm_target)
        except UnknownEnvironment:
            return {}


def _write(
    folder: Path,
    architecture: Any,
    target: Any,
    fingerprint: Mapping[str, Any],
    resolution: Any,
    weights: Path | None,
    compiled: Any,
) -> "Manifest":
    """Seal the bundle: labels, runner, C++ example, and the manifest, which is returned."""
    from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD
    from squeezenas_tvm.bundles.assemble import Manifest, runs_on, seal
    from targets.support.files import sha256

    manifest = Manifest(
        name=architecture.name,
        architecture=architecture.model_dump(exclude_none=True),
        target=target.name,
        device="cuda" if target.uses_cuda else "cpu",
        runs_on=runs_on(target),
        fingerprint=fingerprint,
        height=resolution.height,
        width=resolution.width,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        weights_source=weights.name if weights else None,
        weights_sha256=sha256(weights) if weights else None,
        trained=weights is not None,
        tuned_kernels=len(compiled.tuned),
        default_kernels=len(compiled.default),
        untuned=_is_untuned(target, compiled),
    )
    seal(folder, manifest, dataset=CLASS_LISTS[architecture.num_classes])
    return manifest


def _result(out: Path, target: Any, manifest: "Manifest", weights: Path | None) -> Result:
    resolution = f"{manifest.height}x{manifest.width}"
    document = {
        "bundle": str(out),
        "name": manifest.name,
        "target": manifest.target,
        "resolution": resolution,
        "dtype": manifest.fingerprint["dtype"],
        "weights": str(weights) if weights else None,
        "tuned_kernels": manifest.tuned_kernels,
        "default_kernels": manifest.default_kernels,
        "untuned": manifest.untuned,
        "files": sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()),
    }
    lines = [f"{manifest.name} at {resolution} for {manifest.target}: {out}"]
    if weights is None:
        lines.append("weights: random, so its labels mean nothing; give --weights FILE for real ones")
    lines.append(f"kernels: {manifest.tuned_kernels} tuned, {manifest.default_kernels} on default schedules")
    if manifest.untuned:
        lines.append(_untuned(target, manifest.default_kernels))
    lines.append(
        f"module: {out / 'model.so'} (uint8 RGB frame 1x{resolution}x3 in, class indices 1x{resolution} out)"
    )
    if target.kind == "local":
        lines.append(f"next: squeezenas-tvm run {out} IMAGE --out seen")
    else:
        lines.append(f"next: copy {out} to the device, and there: python {out.name}/run.py IMAGE")
        lines.append(f"or from here: squeezenas-tvm run {out} IMAGE --out seen --tracker HOST:PORT")
    lines.append(f"from C++: {out / 'cpp'} has an example and how to build it")
    return Result(document=document, text="\n".join(lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("deploy", add_arguments, execute, argv, example=EXAMPLE, kept=KEPT)


if __name__ == "__main__":
    leave(main())
