"""What ``profile net.onnx`` does: measures the kernels of anybody's networks, as TVM cuts them.

They come into the same store and table as those of a space; what equals a kernel of a space is that kernel.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.database.environment import environment
from cost_models.database.network_records import AboutFile
from cost_models.database.profiled_networks import FILE, ProfiledNetwork, ProfiledNetworks
from cost_models.database.store import MeasurementStore
from cost_models.errors import CostModelError, InvalidGraph
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.op import Shape
from cost_models.kernel_models.predictor import LEAST_KERNELS
from cost_models.lookup import find_prior, results_folder, with_files
from cost_models.lowering.best_schedules import known_modules
from cost_models.lowering.import_check import model_fault
from cost_models.lowering.network_cut import cut_as_lowered
from cost_models.lowering.pipeline import lower, require_known
from cost_models.onnx_io.importer import Imported, read_onnx
from cost_models.onnx_io.whole_model import WholeModel, read_whole
from cost_models.profiling.networks import Network
from cost_models.tuning.effort import Effort
from search.resolution import Resolution
from squeezenas_tvm.bundles.manifest import own_manifest
from squeezenas_tvm.bundles.network_files import NETWORK, is_bundle, is_onnx, refuse_other_formats, shapes_of
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.measure import (
    SAMPLES,
    Measured,
    Wanted,
    measure_kernels,
    refuse_others_results,
)
from squeezenas_tvm.profiling.time_of_kernels import NetworkTime, measured_roofline, network_time
from targets import Target
from targets.support.interrupts import HeldInterrupts
from targets.toolchain.tools import find_tools

_ANY_NUMBERS = ("float32", "float16", "float64", "uint8")
_MADE_BY = "squeezenas_tvm profile"
_BALANCE = 10  # multiply-accumulates that take as long as a byte: only the order of kernels hangs on it


@dataclass(frozen=True)
class NetworksProfile:
    """A profile of networks on a target.

    Attributes:
        measured: the table, and how it came to be.
        networks: where the time of each goes.
        whole_s: what each took when it ran as a whole; None where it did not.
        distinct: kernels of all networks together.
        of_spaces: how many of them are kernels of our own operations, which spaces have, too.
        in_several: how many of them more than one of the networks runs.
        apart: kernels of each network, added up.
        folder: of the table and the raw samples.
    """

    measured: Measured
    networks: Sequence[NetworkTime]
    whole_s: Sequence[float | None]
    distinct: Sequence[Kernel]
    of_spaces: int
    in_several: int
    apart: int
    folder: Path

    @property
    def holes(self) -> list[str]:
        """Keys of kernels for which no schedule works."""
        return [kernel.key for kernel in self.distinct if kernel.key in self.measured.problems]


@dataclass(frozen=True)
class _File:
    """A network before it is lowered: what its file tells, and what is compiled of it."""

    path: Path
    name: str
    told: Imported
    whole: WholeModel

    @property
    def what(self) -> tuple[str, str]:
        """Name and sizes, as a profile keeps them."""
        return self.entry(KernelGraph((), ())).what

    def entry(self, graph: KernelGraph) -> ProfiledNetwork:
        """What is kept of it."""
        return ProfiledNetwork(
            name=self.name,
            inputs={name: list(shape) for name, shape in self.told.inputs.items()},
            digest=self.told.digest,
            kernels=[kernel.key for kernel in graph.kernels],
            reads=[list(positions) for positions in graph.reads],
        )

    def network(self, graph: KernelGraph) -> Network | None:
        """To be timed whole; None where numbers drawn at random are no inputs: they may be places."""
        if any(value.dtype not in _ANY_NUMBERS for value in self.whole.inputs):
            return None
        about = AboutFile(*self.what, self.told.digest)
        inputs = {value.name: value.shape for value in self.whole.inputs}
        return Network(about, self.told.graph, inputs, graph.kernels, self.whole.proto)


def profile_networks(
    paths: Sequence[Path],
    target: Target,
    *,
    effort: Effort,
    resolution: Resolution | None = None,
    shapes: Mapping[str, Shape] | None = None,
    kernels: int | None = None,
    out: Path | None = None,
    tracker: str | None = None,
    seed: int = 0,
    shown: bool = True,
) -> NetworksProfile:
    """Measure what is missing of the kernels of networks, and tell where the time of each goes.

    Args:
        paths: ONNX files, or bundles, which have one.
        resolution: height and width of images that files leave open.
        shapes: of inputs by name, for whichever files have such inputs.
        kernels: how many are measured, those with most work first, the others being predicted; all when the
            networks have no more. None: as the effort says.
        out: folder of the measurements; ``results/TARGET`` when None.
        tracker: HOST:PORT of the target's boards.

    Raises:
        UsageError, InvalidGraph: a file that is no network which TVM can compile at these sizes, or another
            one than was profiled by its name; before anything long.
        TargetError, CostModelError, InTheWay, FailedWork: as ``profile_space``.
    """
    files = _read(paths, resolution, shapes or {})
    dtype = _dtype(files, target)
    find_tools(target, dtype)
    folder, fingerprint = results_folder(target.name, out, dtype), environment(target, dtype)
    refuse_others_results(folder, FILE)
    kept = ProfiledNetworks.in_folder(folder, fingerprint)
    for file in files:
        _refuse_changed(file, kept, folder)
    for file in files:
        require_known(file.whole.proto)
    graphs = _cut(files, target, dtype, folder)
    distinct = list(dict.fromkeys(kernel for graph in graphs for kernel in graph.kernels))
    wanted = _wanted(distinct, graphs, kernels, effort, seed)
    if not wanted.predicted:
        cut = zip(files, graphs, strict=True)
        whole = [network for file, graph in cut if (network := file.network(graph))]
        wanted = replace(wanted, networks=whole)
    with MeasurementStore.open(folder / SAMPLES):
        pass  # from now on what lies beside it is known as ours
    entries = [file.entry(graph) for file, graph in zip(files, graphs, strict=True)]
    kept.also(entries, distinct, _MADE_BY).save(folder / FILE)
    measured = measure_kernels(target, wanted, folder, dtype=dtype, tracker=tracker, shown=shown)
    model, roofline = _model(measured, folder, target, dtype), measured_roofline(measured.table, distinct)
    named = [(entry.name, entry.sizes) for entry in entries]
    times = [network_time(*name, g, model, roofline) for name, g in zip(named, graphs, strict=True)]
    known = {own.about.digest: own.median_s for own in measured.whole if isinstance(own.about, AboutFile)}
    whole_s = [known.get(entry.digest) for entry in entries]
    return _profile(measured, times, whole_s, graphs, distinct, folder)


def _profile(
    measured: Measured,
    times: Sequence[NetworkTime],
    whole_s: Sequence[float | None],
    graphs: Sequence[KernelGraph],
    distinct: Sequence[Kernel],
    folder: Path,
) -> NetworksProfile:
    runs = Counter(kernel for graph in graphs for kernel in set(graph.kernels))
    return NetworksProfile(
        measured=measured,
        networks=times,
        whole_s=whole_s,
        distinct=distinct,
        of_spaces=sum(not kernel.module for kernel in distinct),
        in_several=sum(count > 1 for count in runs.values()),
        apart=sum(runs.values()),
        folder=folder,
    )


def _read(
    paths: Sequence[Path], resolution: Resolution | None, shapes: Mapping[str, Shape]
) -> Sequence[_File]:
    """Every network, once. Raises UsageError or InvalidGraph for the first that cannot be."""
    bundles = {path: str(own_manifest(path)["name"]) for path in paths if is_bundle(path)}
    for path in paths:
        refuse_other_formats(path)
        if not is_onnx(path) and path not in bundles:
            raise UsageError(
                f"{path}: allowed: .onnx files and bundles; the kernels of an architecture are those of its "
                "space: profile --space NAME"
            )
    files: dict[tuple[str, str], _File] = {}
    named = {path / NETWORK if path in bundles else path: bundles.get(path, path.name) for path in paths}
    for path, own in shapes_of(named, shapes).items():
        told = read_onnx(path, resolution, own)
        file = _File(path, named[path], told, read_whole(path, resolution, own))
        other = files.setdefault(file.what, file)
        if other.told.digest != told.digest:
            raise UsageError(f"{other.path}, {path}: two networks of one name; rename one of the files")
    return list(files.values())


def _dtype(files: Sequence[_File], target: Target) -> str:
    """The type that all are measured in, which folder and environment are of."""
    found = {}
    for file in files:
        is_half = file.told.dtype == "float16" and "float16" in target.dtypes
        found["float16" if is_half else "float32"] = file.path
    if len(found) > 1:
        raise UsageError(
            f"{found['float16']} is in float16, {found['float32']} in float32: each type has a table of its "
            "own; profile them apart"
        )
    return next(iter(found))


def _refuse_changed(file: _File, kept: ProfiledNetworks, folder: Path) -> None:
    """Raises UsageError where a file of that name and these sizes was profiled, and was another network."""
    for other in kept.networks:
        if other.what == file.what and other.digest != file.told.digest:
            raise UsageError(
                f"{file.path}: its layers are not those that were profiled into {folder} as {other.name} at "
                f"{other.sizes}: the file has changed; rename the new one, or name another folder with --out"
            )


def _cut(files: Sequence[_File], target: Target, dtype: str, folder: Path) -> list[KernelGraph]:
    """What each network runs on the target. Raises UsageError where TVM cannot import one."""
    graphs, known = [], known_modules(folder / SAMPLES)
    tvm_target = target.tvm_target()
    for file in files:
        with tempfile.TemporaryDirectory() as scratch:
            if fault := model_fault(file.whole.proto, str(file.path), target, Path(scratch)):
                raise UsageError(fault)
        described = split_into_kernels(file.told.graph, file.told.inputs)
        try:
            with HeldInterrupts():
                lowered = lower(file.whole.proto, tvm_target)
                graph = cut_as_lowered(lowered, described, tvm_target, dtype, known)
        except InvalidGraph as error:
            raise InvalidGraph(f"{file.path}: {error}") from error
        known |= {kernel.module: kernel for kernel in graph.kernels if kernel.module}
        graphs.append(graph)
    return graphs


def _wanted(
    distinct: Sequence[Kernel], graphs: Sequence[KernelGraph], kernels: int | None, effort: Effort, seed: int
) -> Wanted:
    """All kernels, or those with the most work. Raises UsageError for so few that none tells the others."""
    count = effort.measured(len(distinct)) if kernels is None else kernels
    if count >= len(distinct):
        return Wanted(kernels=distinct, effort=effort, seed=seed)
    if count < LEAST_KERNELS:
        raise UsageError(
            f"--kernels {count}: too few of {len(distinct)} to tell the others; allowed: {LEAST_KERNELS} or "
            "more, so many as there are or more measures all"
        )
    calls = Counter(kernel for graph in graphs for kernel in graph.kernels)
    first = set(sorted(distinct, key=lambda kernel: -calls[kernel] * _work(kernel))[:count])
    return Wanted(
        kernels=[kernel for kernel in distinct if kernel in first],
        predicted=[kernel for kernel in distinct if kernel not in first],
        effort=effort,
        seed=seed,
    )


def _work(kernel: Kernel) -> float:
    return max((kernel.macs + kernel.steps) / _BALANCE, kernel.bytes_moved)


def _model(measured: Measured, folder: Path, target: Target, dtype: str) -> CostModel:
    """What was measured, and what tells the rest."""
    try:
        prior = find_prior(target, dtype)
    except CostModelError:
        prior = None
    return with_files(measured.table, folder, prior)
