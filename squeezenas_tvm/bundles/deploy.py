"""What ``deploy`` does: tunes and compiles an architecture with weights for a target into a bundle."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.store import MeasurementStore
from cost_models.errors import UnknownEnvironment
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.lookup import results_folder
from cost_models.lowering.best_schedules import tuned_modules
from cost_models.lowering.pipeline import Compiled, compile_lowered, export, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.tuning.effort import Effort
from search.architecture import Architecture
from search.networks.weights import load_weights_apart
from search.resolution import Resolution
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD
from squeezenas_tvm.bundles.assemble import Manifest, assemble, runs_on, seal
from squeezenas_tvm.bundles.check_gpu_kernels import KernelCheck, check_gpu_kernels
from squeezenas_tvm.bundles.kernel_profile import KernelProfile, profile_kernels
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.profiling.measure import Wanted, measure_kernels
from targets import Target, TargetError
from targets.rpc.tracker import tracker_address
from targets.support.files import sha256
from targets.support.interrupts import HeldInterrupts
from targets.toolchain.tools import find_tools

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deployed:
    """A bundle that was made.

    Attributes:
        folder: of the bundle.
        manifest: what the bundle says of itself.
        weights: the file that they are from; None for random ones.
        profile: of its kernels, where it was asked for.
    """

    folder: Path
    manifest: Manifest
    weights: Path | None
    profile: Sequence[KernelProfile] | None = None

    @property
    def files(self) -> list[str]:
        """All of the bundle, relative to its folder."""
        paths = self.folder.rglob("*")
        return sorted(path.relative_to(self.folder).as_posix() for path in paths if path.is_file())


def deploy_architecture(
    architecture: Architecture,
    target: Target,
    resolution: Resolution,
    out: Path,
    *,
    weights: Path | None = None,
    trials: int = 0,
    measurements: Path | None = None,
    dtype: str = "float32",
    tracker: str | None = None,
    profile: bool = False,
    check: bool = True,
    shown: bool = True,
) -> Deployed:
    """Tune if asked, compile with the best schedules known, write the bundle.

    Args:
        out: folder of the bundle; an older bundle there is replaced.
        weights: the architecture's own when None; random ones where it has none.
        trials: schedules tried for each kernel; 0 tunes nothing and uses stored records.
        measurements: folder of those; ``results/TARGET`` when None.
        tracker: HOST:PORT of the target's boards, for ``trials``.
        profile: tell what each kernel asks of the device, in `Deployed.profile`.
        check: for a GPU, run each kernel on the emulated one first.
        shown: draw how far the tuning is.

    Raises:
        InvalidWeights, TargetError, UsageError: before anything long is started.
        FailedWork: no kernel could be measured, one is wrong, or the disk is full; no bundle was made.
    """
    _check(architecture, target, trials=trials, dtype=dtype, tracker=tracker)
    weights = weights or architecture.weights_path
    records = results_folder(target.name, measurements, dtype)
    fingerprint = environment(target, dtype)
    if trials and records.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"--out {out} would replace the measurements in {records}; name another folder")
    try:
        with assemble(out) as folder:
            model, kernels = _network(architecture, resolution, weights, dtype, folder.parent)
            if trials:
                wanted = Wanted(kernels=kernels, effort=Effort.alone(trials))
                measure_kernels(
                    target, wanted, records, dtype=dtype, tracker=tracker, title="tune", shown=shown
                )
            with HeldInterrupts():
                lowered = lower(model, target.tvm_target())
                compiled = _compile(model, lowered, kernels, target, fingerprint, records, folder)
            checked = check_gpu_kernels(compiled, lowered, target, wanted=check, shown=shown)
            module, loads = folder / "model.so", checked.loads if checked else {}
            profiles = profile_kernels(compiled, kernels, target, dtype, module, loads) if profile else None
            manifest = _write(
                folder, architecture, target, fingerprint, resolution, weights, compiled, checked
            )
    except OSError as error:
        raise FailedWork(
            f"{error.filename or out}: {error.strerror or error}; no bundle was made; "
            "make room there or name another --out, and give the same command again"
        ) from error
    return Deployed(out, manifest, weights, profiles)


def _check(
    architecture: Architecture, target: Target, *, trials: int, dtype: str, tracker: str | None
) -> None:
    """Before anything long. Raises TargetError or UsageError for what is missing."""
    find_tools(target, dtype)
    if tracker and not trials:
        raise UsageError(f"--tracker {tracker} is for --trials N: without trials no board is asked")
    if trials and target.kind == "board" and not tracker:
        try:
            tracker_address(target)
        except TargetError as error:
            raise UsageError(f"--trials {trials} needs the board: {error}") from None


def _network(
    architecture: Architecture, resolution: Resolution, weights: Path | None, dtype: str, scratch: Path
) -> tuple[onnx.ModelProto, list[Kernel]]:
    """What is deployed, and its distinct kernels."""
    tensors = load_weights_apart(architecture, weights, scratch) if weights else None
    graph, inputs = architecture.camera_network(), {"frame": (1, *resolution, 3)}
    model = to_onnx(graph, inputs, tensors, name=architecture.name, dtype=dtype)
    return model, list(dict.fromkeys(split_into_kernels(graph, inputs)))


def _compile(
    model: onnx.ModelProto,
    lowered: Any,
    kernels: Sequence[Kernel],
    target: Target,
    fingerprint: Mapping[str, Any],
    measurements: Path,
    folder: Path,
) -> Compiled:
    """Compile with the fastest schedules on record; write network.onnx and model.so."""
    tvm_target, tools = target.tvm_target(), find_tools(target, fingerprint["dtype"])
    tools.install()
    tuned = tuned_on_record(kernels, fingerprint, tvm_target, measurements)
    compiled = compile_lowered(lowered, tvm_target, tuned)
    onnx.save(model, folder / "network.onnx")
    export(compiled.executable, folder / "model.so", tools)
    if _is_untuned(target, compiled):
        log.warning(untuned_text(target, len(compiled.default)))
    elif compiled.default:
        log.warning(
            "%d of %d kernels run on default schedules: nothing better is on record in %s",
            len(compiled.default),
            len(compiled.default) + len(compiled.tuned),
            measurements,
        )
    return compiled


def _is_untuned(target: Target, compiled: Compiled) -> bool:
    """Default schedules for CPUs are known to be fair; those for GPUs were made without one."""
    return target.uses_cuda and not compiled.tuned


def untuned_text(target: Target, count: int) -> str:
    """What a GPU's module that runs on default schedules needs; ``count``: its kernels."""
    again = "--trials 64" if target.kind == "local" else "--trials 64 --tracker HOST:PORT"
    return (
        f"UNTUNED: all {count} kernels run on default GPU schedules, which were made without a GPU; "
        f"tune them on the device: the same command with {again}"
    )


def tuned_on_record(
    kernels: Sequence[Kernel], fingerprint: Mapping[str, Any], tvm_target: Any, measurements: Path
) -> dict[str, Any]:
    """Kernels whose tuned schedule is on record and beats the default one (see ``profiler``)."""
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
    architecture: Architecture,
    target: Target,
    fingerprint: Mapping[str, Any],
    resolution: Resolution,
    weights: Path | None,
    compiled: Compiled,
    checked: KernelCheck | None,
) -> Manifest:
    """Seal the bundle: labels, runner, C++ example, and the manifest, which is returned."""
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
        checked=checked.document() if checked else None,
    )
    seal(folder, manifest, classes=architecture.labels, dataset=architecture.known_classes)
    return manifest
