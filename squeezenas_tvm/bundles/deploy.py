"""What ``deploy`` does: tunes and compiles an architecture with weights for a target into a bundle."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.store import MeasurementStore
from cost_models.errors import UnknownEnvironment
from cost_models.ir.fusion import Kernel
from cost_models.lookup import results_folder
from cost_models.lowering.best_schedules import known_modules, tuned_modules
from cost_models.lowering.import_check import model_fault
from cost_models.lowering.network_cut import cut_as_lowered
from cost_models.lowering.pipeline import Compiled, compile_lowered, export, lower
from cost_models.onnx_io.saving import save_model
from cost_models.tuning.effort import Effort
from search.architecture import Architecture
from search.resolution import Resolution
from squeezenas_tvm.bundles.assemble import Manifest, assemble, runs_on, seal
from squeezenas_tvm.bundles.check_gpu_kernels import KernelCheck, check_gpu_kernels
from squeezenas_tvm.bundles.deployable import AS_IT_IS, Deployable, Ends, of_architecture, of_onnx
from squeezenas_tvm.bundles.kernel_profile import KernelProfile, kernels_document, profile_kernels
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.profiling.measure import SAMPLES, Wanted, measure_kernels
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


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a network is deployed.

    Attributes:
        trials: schedules tried for each kernel; 0 tunes nothing and uses stored records.
        effort: instead of ``trials``: as ``profile`` tunes the kernels of a space.
        measurements: folder of the records; ``results/TARGET`` when None.
        tracker: HOST:PORT of the target's boards, for tuning.
        profile: tell what each kernel asks of the device, in `Deployed.profile`.
        check: for a GPU, run each kernel on the emulated one first.
        shown: draw how far the tuning is.
    """

    trials: int = 0
    effort: Effort | None = None
    measurements: Path | None = None
    tracker: str | None = None
    profile: bool = False
    check: bool = True
    shown: bool = True

    @property
    def tuning(self) -> Effort | None:
        """What is spent on faster schedules; None: nothing. Numbers for a table are nobody's wish here."""
        if self.effort is not None:
            return replace(self.effort, visits=1)
        return Effort.alone(self.trials) if self.trials else None


USUAL = Wishes()


def deploy_architecture(
    architecture: Architecture,
    target: Target,
    resolution: Resolution,
    out: Path,
    wishes: Wishes = USUAL,
    *,
    weights: Path | None = None,
    dtype: str = "float32",
) -> Deployed:
    """Tune if asked, compile with the best schedules known, write the bundle.

    Args:
        out: folder of the bundle; an older bundle there is replaced.
        weights: the architecture's own when None; random ones where it has none.

    Raises:
        InvalidWeights, TargetError, UsageError: before anything long is started.
        FailedWork: no kernel could be measured, one is wrong, or the disk is full; no bundle was made.
    """

    def make(scratch: Path) -> Deployable:
        return of_architecture(architecture, resolution, weights, dtype, scratch)

    return _deploy(make, target, out, wishes, dtype)


def deploy_onnx(
    path: Path, target: Target, out: Path, wishes: Wishes = USUAL, ends: Ends = AS_IT_IS
) -> Deployed:
    """The same for a network of anybody's, from an ONNX file.

    Raises:
        InvalidGraph, TargetError, UsageError: before anything long is started.
        FailedWork: as ``deploy_architecture``.
    """
    deployable = of_onnx(path, ends)
    dtype = "float16" if deployable.is_float16 and "float16" in target.dtypes else "float32"

    def make(scratch: Path) -> Deployable:
        if fault := model_fault(deployable.model, str(path), target, scratch):
            raise UsageError(fault)
        return deployable

    return _deploy(make, target, out, wishes, dtype)


def _deploy(
    make: Callable[[Path], Deployable], target: Target, out: Path, wishes: Wishes, dtype: str
) -> Deployed:
    """Deploy what ``make`` makes, which may write into the folder that it is given."""
    _check(target, wishes, dtype)
    records = results_folder(target.name, wishes.measurements, dtype)
    fingerprint = environment(target, dtype)
    if wishes.tuning and records.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"--out {out} would replace the measurements in {records}; name another folder")
    try:
        with assemble(out) as folder:
            network = make(folder.parent)
            with HeldInterrupts():
                lowered = lower(network.model, target.tvm_target())
                network = _as_lowered(network, lowered, target, dtype, records, wishes)
            if effort := wishes.tuning:
                _tune(network.kernels, target, records, wishes, dtype, effort)
            with HeldInterrupts():
                compiled = _compile(network, lowered, target, fingerprint, records, folder)
            checked = check_gpu_kernels(compiled, lowered, target, wanted=wishes.check, shown=wishes.shown)
            module, loads = folder / "model.so", checked.loads if checked else {}
            profiles = profile_kernels(compiled, network.kernels, target, dtype, module, loads)
            kernels = kernels_document(profiles, target, dtype)
            manifest = _write(folder, network, target, fingerprint, compiled, checked, kernels)
    except OSError as error:
        raise FailedWork(
            f"{error.filename or out}: {error.strerror or error}; no bundle was made; "
            "make room there or name another --out, and give the same command again"
        ) from error
    return Deployed(out, manifest, network.weights, profiles if wishes.profile else None)


def _check(target: Target, wishes: Wishes, dtype: str) -> None:
    """Before anything long. Raises TargetError or UsageError for what is missing."""
    find_tools(target, dtype)
    if wishes.tracker and not wishes.tuning:
        raise UsageError(f"--tracker {wishes.tracker} is for --trials N: without trials no board is asked")
    if wishes.tuning and target.kind == "board" and not wishes.tracker:
        try:
            tracker_address(target)
        except TargetError as error:
            asked = f"--effort {wishes.effort.name}" if wishes.effort else f"--trials {wishes.trials}"
            raise UsageError(f"{asked} needs the board: {error}") from None


def _as_lowered(
    network: Deployable, lowered: Any, target: Target, dtype: str, records: Path, wishes: Wishes
) -> Deployable:
    """A network whose kernels are all that it runs, where anybody asks for them by name."""
    asked = wishes.tuning or wishes.profile or (records / SAMPLES).exists()
    if network.architecture is not None or not asked:
        return network
    known = known_modules(records / SAMPLES)
    graph = cut_as_lowered(lowered, network.kernels, target.tvm_target(), dtype, known)
    return replace(network, kernels=list(dict.fromkeys(graph.kernels)))


def _tune(
    kernels: Sequence[Kernel], target: Target, records: Path, wishes: Wishes, dtype: str, effort: Effort
) -> None:
    measure_kernels(
        *(target, Wanted(kernels=kernels, effort=effort), records),
        dtype=dtype,
        tracker=wishes.tracker,
        title="tune",
        shown=wishes.shown,
    )


def _compile(
    network: Deployable,
    lowered: Any,
    target: Target,
    fingerprint: Mapping[str, Any],
    measurements: Path,
    folder: Path,
) -> Compiled:
    """Compile with the fastest schedules on record; write network.onnx and model.so."""
    tvm_target, tools = target.tvm_target(), find_tools(target, fingerprint["dtype"])
    tools.install()
    tuned = tuned_on_record(network.kernels, fingerprint, tvm_target, measurements)
    compiled = compile_lowered(lowered, tvm_target, tuned)
    save_model(network.model, folder / "network.onnx")
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
    path = measurements / SAMPLES
    if not path.exists():
        return {}
    with MeasurementStore.open(path, create=False) as store:
        try:
            return tuned_modules(History.of(store, fingerprint), kernels, tvm_target)
        except UnknownEnvironment:
            return {}


def _write(
    folder: Path,
    network: Deployable,
    target: Target,
    fingerprint: Mapping[str, Any],
    compiled: Compiled,
    checked: KernelCheck | None,
    kernels: Mapping[str, Any],
) -> Manifest:
    """Seal the bundle: labels, kernels, runner, C++ example, and the manifest, which is returned."""
    weights = network.weights
    manifest = Manifest(
        name=network.name,
        architecture=network.architecture,
        target=target.name,
        device="cuda" if target.uses_cuda else "cpu",
        runs_on=runs_on(target),
        fingerprint=fingerprint,
        inputs=network.inputs,
        outputs=network.outputs,
        mean=network.mean,
        std=network.std,
        weights_source=weights.name if weights else None,
        weights_sha256=sha256(weights) if weights else None,
        trained=weights is not None,
        tuned_kernels=len(compiled.tuned),
        default_kernels=len(compiled.default),
        untuned=_is_untuned(target, compiled),
        checked=checked.document() if checked else None,
    )
    seal(
        folder,
        manifest,
        classes=network.classes,
        dataset=network.dataset,
        key_points=network.key_points,
        kernels=kernels,
    )
    return manifest
