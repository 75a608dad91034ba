"""What a network costs on a target: measured, estimated, predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cost_models.database.table import LatencyTable
from cost_models.estimate import NetworkEstimate
from cost_models.lookup import cost_model, other_processor
from search.architecture import Architecture
from search.costs.kernel_table import network_kernels, priced_graph
from search.resolution import Resolution
from search.spaces.space import SearchSpace
from squeezenas_tvm.errors import UsageError
from targets import PublishedDevice, Target

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel
    from cost_models.tuning.effort import Effort
    from squeezenas_tvm.comparing.compare import Compared
    from squeezenas_tvm.predicting.predict import PredictedNetwork
    from squeezenas_tvm.profiling.profile_networks import NetworksProfile
    from squeezenas_tvm.profiling.summary import Profile


def fit_device(
    target: Target,
    networks: Sequence[tuple[Architecture, tuple[int, int], float]],
    others: "Mapping[str, CostModel] | None" = None,
) -> "CostModel":
    """A cost model of a target on which only whole networks were measured; ten of them tell much.

    Args:
        networks: architecture, height and width, and seconds of the deployed network (camera frame to class
            indices); at least four.
        others: name -> cost model of other devices, which the target may be like; when None all that are
            known: tables in ``results/``, shipped ones, priors. The target's data sheet is used in any case.

    Returns:
        For ``estimate_latency(architecture, target, table=...)``; its source is ``prior``, its interval that
        of networks which the others of ``networks`` told.

    Raises:
        CostModelError: too few networks, or a latency that is not above 0 and finite.
        InvalidResolution: a size that no network takes.
    """
    from cost_models.cost_model import CostModel
    from cost_models.device_models.fitted_device import FittedDevice, MeasuredNetwork
    from cost_models.lookup import data_sheet, other_devices

    measured = [
        MeasuredNetwork(
            architecture.name, tuple(network_kernels(architecture, Resolution(*size).checked())), seconds
        )
        for architecture, size, seconds in networks
    ]
    seconds = [network.seconds for network in measured]
    fitted = FittedDevice.fit(
        target.name,
        measured,
        other_devices(target, "float32", seconds) if others is None else others,
        measured=f"given on {date.today().isoformat()}",
        start=data_sheet(target, "float32"),
    )
    return CostModel(target.name, prior=fitted)


def compare_networks(
    networks: Sequence[str | Path],
    target: Target,
    *,
    data: str | None = None,
    split: str = "val",
    resolution: tuple[int, int] | None = None,
    table: str | Path | None = None,
    progress: bool = False,
) -> "list[Compared]":
    """What is known of networks on a target, the fastest first: latency, accuracy, MACs, memory.

    Args:
        networks: names or YAML files of architectures, ONNX files, folders of bundles.
        data: measure the accuracy of bundles and of architectures with weights on its ``split``; when None
            that which architectures say of themselves is told.
        resolution: of architectures, and of ONNX files that leave theirs open.
        table: folder of the target's table; see ``estimate_latency``.

    Raises:
        UsageError, SearchError, InvalidGraph, BundleError, CostModelError: before anything long.
        FailedWork: an evaluation failed.
    """
    from squeezenas_tvm.comparing import compare

    return compare.compare_networks(
        [str(name) for name in networks],
        target,
        data=data,
        split=split,
        resolution=Resolution(*resolution).checked() if resolution else None,
        table=Path(table) if table else None,
        shown=progress,
    )


def estimate_latency(
    architecture: Architecture,
    target: Target | PublishedDevice,
    resolution: tuple[int, int] = (1024, 2048),
    *,
    table: "CostModel | LatencyTable | str | Path | None" = None,
) -> NetworkEstimate:
    """Latency of the deployed network (camera frame to class indices), without the device.

    Every kernel is told by the best source that knows it: measured, else predicted, else a prior. What comes
    from a shipped table of another processor than this machine's says ``other processor``, until
    ``predict_network`` has calibrated it.

    Args:
        target: as ``load_device`` gives it; one that others measured tells the sum of their rows.
        resolution: height and width, pixels.
        table: a cost model (``fit_device`` makes one), a table, which is then asked alone, or the folder of a
            profile; when None ``results/TARGET`` in the current folder, or else what is shipped.

    Raises:
        IncompatibleTable, IncompatiblePredictor, IncompatibleNetworkModel: no table there, or one of another
            target or machine.
        MissingEntry: a kernel of the network was not measured, and nothing else tells it.
        InvalidResolution: a size that no network takes.
    """
    size = Resolution(*resolution).checked()
    model = _cost_model(target, table)
    return model.network(priced_graph(model, architecture, size))


def predict_network(
    network: Architecture | str | Path,
    target: Target,
    resolution: tuple[int, int] | None = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    table: "CostModel | LatencyTable | str | Path | None" = None,
    dtype: str | None = None,
    default_schedules: bool = False,
    calibrate: bool = False,
) -> "PredictedNetwork":
    """All that is known of a network on a target that it never ran on: ``estimate_latency``, and more.

    Args:
        network: an architecture, or an ONNX file of any network.
        resolution: height and width, pixels; 1024x2048 when None, or what the ONNX file says.
        shapes: of inputs by name, where an ONNX file leaves them open.
        table: see ``estimate_latency``.
        calibrate: first measure a few kernels of the shipped table on this machine's processor, in seconds;
            they are kept in ``results/TARGET`` and scale that table from then on.
        dtype: of maps and weights, ``float32`` or ``float16``; None: as in the ONNX file, else as measured.
        default_schedules: latency without tuning.

    Raises:
        UsageError: there is no shipped table to calibrate.
        InvalidGraph: an ONNX file that latencies cannot be told for.
        As ``estimate_latency``.
    """
    from squeezenas_tvm.predicting import predict
    from squeezenas_tvm.predicting.models import Models
    from squeezenas_tvm.profiling.energy import usual_power

    size = None if resolution is None else Resolution(*resolution)
    if isinstance(network, Architecture):
        asked = predict.network_of(network, size and size.checked())
    else:
        asked = predict.read_network(Path(network), size, shapes)
    if calibrate:
        from squeezenas_tvm.profiling.calibrate_processor import calibrate_processor

        calibrate_processor(target, table, shown=False)
    if dtype is not None:
        target.require_dtype(dtype)
    asked = replace(asked, dtype=dtype or asked.dtype)
    folder = Path(table) if isinstance(table, str | Path) else None
    given = folder if table is None or folder else _cost_model(target, table)
    model = Models(target, given, default_schedules=default_schedules).of(asked.dtype)
    return predict.predict_network(asked, model, usual_power(model, folder))


def choose_architectures(
    space: SearchSpace, count: int, resolution: tuple[int, int] = (1024, 2048), *, seed: int = 0
) -> list[Architecture]:
    """The networks of a space whose latencies tell most about all others: measure them for ``fit_device``.

    Raises:
        UsageError: the space has fewer networks.
        InvalidResolution: a size that no network takes.
    """
    from squeezenas_tvm.profiling import choose_networks

    size = Resolution(*resolution).checked()
    return choose_networks.choose_architectures(space, size, count, seed=seed)


def profile_networks(
    networks: Sequence[str | Path],
    target: Target,
    resolution: tuple[int, int] | None = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    effort: str = "standard",
    trials: int | None = None,
    kernels: int | None = None,
    folder: str | Path | None = None,
    tracker: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> "NetworksProfile":
    """Tune and time the kernels of networks from ONNX files, and tell where the time of each goes.

    What is stored is not measured again; ``predict_network`` and ``deploy_network`` use it.

    Args:
        networks: ONNX files; what they have in common is measured once.
        resolution, shapes: of the images, or of inputs by name, where files leave them open.
        effort, trials, folder, tracker, seed: as for ``profile_space``.
        kernels: how many are measured, those with most work first; None: as the effort says.

    Raises:
        UsageError, InvalidGraph, TargetError, CostModelError: before anything long.
        FailedWork: not one kernel could be measured.
    """
    from squeezenas_tvm.profiling import profile_networks as work

    return work.profile_networks(
        [Path(network) for network in networks],
        target,
        effort=_effort(effort, trials),
        resolution=Resolution(*resolution) if resolution else None,
        shapes=shapes,
        kernels=kernels,
        out=Path(folder) if folder else None,
        tracker=tracker,
        seed=seed,
        shown=progress,
    )


def profile_space(
    space: SearchSpace,
    target: Target,
    resolution: tuple[int, int] = (1024, 2048),
    *,
    effort: str = "standard",
    trials: int | None = None,
    kernels: int | None = None,
    folder: str | Path | None = None,
    task: str = "segmentation",
    classes: int = 19,
    dtype: str = "float32",
    tracker: str | None = None,
    networks: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> "Profile":
    """Tune and time the kernels of a space on a target, as far as that is not stored yet.

    Args:
        resolution: height and width, pixels.
        effort: how long to look for fast schedules: quick, standard or thorough.
        trials: instead of it: schedules tried for each kernel; 0 times the default schedules only.
        kernels: how many are measured, the others being predicted; all when None, but of spaces with hundreds
            quick and standard measure some.
        folder: of the measurements; ``results/TARGET`` when None.
        task: what its networks are for: segmentation, depth or pose.
        classes: of the decoder; key points of ``pose``; 1 of ``depth``.
        tracker: HOST:PORT of the target's boards.
        networks: random networks of segmentation that are also timed whole, to calibrate the estimates of
            all others.
        seed: of the schedule search and of those networks.

    Returns:
        Its ``table`` is what ``estimate_latency`` takes; ``holes`` names what could not be measured.

    Raises:
        UsageError: no such effort or task, or too few kernels.
        TargetError, CostModelError: no board, a tool is missing, or measurements that cannot be used.
        FailedWork: not one kernel could be measured.
    """
    from squeezenas_tvm.profiling import profile_space as work

    return work.profile_space(
        space,
        target,
        Resolution(*resolution).checked(),
        effort=_effort(effort, trials),
        kernels=kernels,
        out=Path(folder) if folder else None,
        task=_known_task(task),
        classes=classes,
        dtype=dtype,
        tracker=tracker,
        networks=networks,
        seed=seed,
        shown=progress,
    )


def _known_task(name: str) -> str:
    """Raises UsageError."""
    from search.spaces.camera import HEADS

    if name not in HEADS:
        raise UsageError(f"task {name!r}: allowed: {', '.join(HEADS)}")
    return name


def _effort(name: str, trials: int | None) -> "Effort":
    """Raises UsageError."""
    from cost_models.tuning.effort import EFFORTS, Effort

    if name not in EFFORTS:
        raise UsageError(f"effort {name!r}: allowed: {', '.join(EFFORTS)}")
    return EFFORTS[name] if trials is None else Effort.alone(trials)


def _cost_model(
    target: Target | PublishedDevice, table: "CostModel | LatencyTable | str | Path | None"
) -> "CostModel":
    """What ``estimate_latency`` takes as its table."""
    from cost_models.cost_model import CostModel

    if isinstance(table, LatencyTable) and isinstance(target, Target):
        return CostModel(table.target, table, processor=other_processor(target, table))
    if isinstance(table, CostModel):
        return table
    if isinstance(table, LatencyTable):
        raise UsageError(f"{target.name} has the table that others measured alone; leave table out")
    return cost_model(target, Path(table) if table else None)
