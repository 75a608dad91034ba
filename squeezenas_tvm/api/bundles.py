"""What ships: made, run, and judged."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.architecture import Architecture
from search.resolution import Resolution
from targets import Target

if TYPE_CHECKING:
    from cost_models.onnx_io.ends import End, Frame
    from squeezenas_tvm.bundles.deploy import Deployed
    from squeezenas_tvm.bundles.run_images import BundleRun
    from squeezenas_tvm.evaluation.scores import Evaluation


def deploy_architecture(
    architecture: Architecture,
    target: Target,
    out: str | Path,
    resolution: tuple[int, int] = (1024, 2048),
    *,
    weights: str | Path | None = None,
    trials: int = 0,
    measurements: str | Path | None = None,
    dtype: str = "float32",
    tracker: str | None = None,
    profile: bool = False,
    check: bool = True,
    progress: bool = False,
) -> "Deployed":
    """Compile an architecture for a target into a bundle, with the fastest schedules on record.

    Args:
        out: folder of the bundle; an older bundle there is replaced.
        resolution: height and width, pixels.
        weights: .safetensors or .pth; the architecture's own when None, random ones where it has none.
        trials: schedules tried for each kernel first; 0 tunes nothing.
        measurements: folder of the records, such as that of ``profile_space``; ``results/TARGET`` when None.
        tracker: HOST:PORT of the target's boards, for ``trials``.
        profile: tell what each kernel asks of the device, in ``Deployed.profile``.
        check: for a GPU, run each kernel on the emulated one first, which takes a C++ compiler.

    Raises:
        InvalidWeights, TargetError, UsageError: before anything long is started.
        FailedWork: no kernel could be measured, one is wrong, or the disk is full; no bundle was made.
    """
    from squeezenas_tvm.bundles import deploy

    return deploy.deploy_architecture(
        architecture,
        target,
        Resolution(*resolution).checked(),
        Path(out),
        deploy.Wishes(
            trials=trials,
            measurements=Path(measurements) if measurements else None,
            tracker=tracker,
            profile=profile,
            check=check,
            shown=progress,
        ),
        weights=Path(weights) if weights else None,
        dtype=dtype,
    )


def deploy_network(
    network: Any,
    target: Target,
    out: str | Path,
    *,
    example_input: Any = None,
    resolution: tuple[int, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    frame: "Frame | None" = None,
    end: "End | None" = None,
    output: str | None = None,
    labels: str | None = None,
    trials: int = 0,
    measurements: str | Path | None = None,
    tracker: str | None = None,
    profile: bool = False,
    check: bool = True,
    progress: bool = False,
) -> "Deployed":
    """Compile any network for a target into a bundle: an ONNX file, or a PyTorch module.

    Args:
        network: path of an ONNX file; a ``torch.nn.Module``, or what ``torch.export.export`` made of one.
        out: folder of the bundle; an older bundle there is replaced.
        example_input: for a module: a tensor, or a tuple of them, of the shapes to deploy.
        resolution, shapes: of the images, or of inputs by name, where a file leaves them open.
        frame, end: of ``cost_models.onnx_io.ends``: a camera's frame in place of its input, and what is made
            of its output, or of the one called ``output``; None: as they are.
        labels: what its classes are: a text file with a name a line, or ``cityscapes``, ``camvid``.
        trials, measurements, tracker, profile, check: as in ``deploy_architecture``.

    Raises:
        InvalidGraph, TargetError, UsageError: before anything long is started.
        FailedWork: as ``deploy_architecture``.
    """
    from squeezenas_tvm.bundles import deploy
    from squeezenas_tvm.bundles.deployable import Ends
    from squeezenas_tvm.bundles.from_torch import export_module

    size = Resolution(*resolution).checked() if resolution else None
    ends = Ends(resolution=size, shapes=shapes or {}, frame=frame, end=end, output=output, labels=labels)
    wishes = deploy.Wishes(
        trials=trials,
        measurements=Path(measurements) if measurements else None,
        tracker=tracker,
        profile=profile,
        check=check,
        shown=progress,
    )
    if isinstance(network, str | Path):
        return deploy.deploy_onnx(Path(network), target, Path(out), wishes, ends)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{type(network).__name__.lower()}.onnx"
        export_module(network, example_input, path)
        return deploy.deploy_onnx(path, target, Path(out), wishes, ends)


def run_bundle(
    folder: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    repeats: int = 20,
    warmup: int = 3,
    tracker: str | None = None,
    target: str | None = None,
    energy: bool = False,
    profile: bool = False,
    progress: bool = False,
) -> "BundleRun":
    """What the network of a bundle sees, and how long it takes; writes an overlay and a label PNG an image.

    Args:
        folder: of the bundle.
        images: PNG, JPEG, BMP, TIFF, WebP, PPM or .npy.
        out: folder of the pictures.
        repeats, warmup: timed runs an image, and untimed ones before them.
        tracker, target: as in ``evaluate_bundle``.
        energy: also measure a frame's by this machine's power sensor, and keep it for ``predict_network``.
        profile: also time each kernel, in ``BundleRun.kernels``, and keep it in ``out`` for ``write_report``.

    Raises:
        InTheWay: another ``profile.json`` is in ``out``.
        UsageError, BundleError, ImageError: a bundle, an image or a folder that cannot be used.
        TargetError, FailedWork: no board, or one that does not run the bundle; no power sensor.
    """
    from squeezenas_tvm.bundles import run_images

    return run_images.run_bundle(
        Path(folder),
        [Path(image) for image in images],
        Path(out),
        repeats=repeats,
        warmup=warmup,
        tracker=tracker,
        target=target,
        energy=energy,
        profile=profile,
        shown=progress,
    )


def evaluate_bundle(
    folder: str | Path,
    data: str,
    split: str = "val",
    *,
    tracker: str | None = None,
    target: str | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> "Evaluation":
    """How right the very module that ships is on labelled frames.

    Args:
        folder: of the bundle.
        data, split: as in ``evaluate_architecture``; the bundle's classes must be the data's,
            which is for its task.
        tracker: HOST:PORT, to run it on a board there.
        target: name or YAML file of the board's target; the bundle's when None.
        out: folder for confusions and pictures of frames, of segmentation alone.

    Raises:
        UsageError, SearchError, BundleError: bundle and data that do not fit each other, or are not there.
        TargetError, FailedWork: no board, or one that does not run the bundle.
        InTheWay, FailedWrite: files of others in ``out``, or no room there.
    """
    from search.data import open_data
    from squeezenas_tvm.evaluation import bundle as work

    return work.evaluate_bundle(
        Path(folder),
        open_data(data, work.task_of_folder(Path(folder))),
        split,
        tracker=tracker,
        target=target,
        out=Path(out) if out else None,
        shown=progress,
    )
