"""Evaluates the very module that ships. Neither this nor data sets load PyTorch, which TVM must not meet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.data import Data
from squeezenas_tvm.bundles.manifest import own_manifest
from squeezenas_tvm.bundles.opened import opened_bundle
from squeezenas_tvm.bundles.values import CLASSES, KEY_POINTS, METRES, required_picture
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.evaluation.kept import KeptFrames
from squeezenas_tvm.evaluation.scores import Evaluation, check_split, evaluate_frames

TASKS = {CLASSES: "segmentation", METRES: "depth", KEY_POINTS: "pose"}
"""What a network is for, by the meaning of what it gives for a frame."""


def task_of(manifest: Mapping[str, Any]) -> str:
    """What a bundle is for. Raises BundleError where its network does not take a frame, or gives something
    else than can be compared with a data set's truth."""
    return TASKS[required_picture(manifest)]


def task_of_folder(folder: Path) -> str:
    """``task_of`` the bundle there. Raises BundleError also where it is none."""
    return task_of(own_manifest(folder))


def evaluate_bundle(
    folder: Path,
    data: Data,
    split: str = "val",
    *,
    tracker: str | None = None,
    target: str | None = None,
    out: Path | None = None,
    shown: bool = True,
) -> Evaluation:
    """How right a bundle is on a split, here or on its board.

    Args:
        split: train, val, trainval or test.
        tracker, target: of a board that runs it, see ``opened_bundle``.
        out: folder for confusions and pictures of frames, of segmentation alone.
        shown: draw how far it is.

    Raises:
        UsageError, SearchError, BundleError: bundle and data that do not fit each other or are not there.
        TargetError, FailedWork: no board, or one that does not run the bundle.
        InTheWay, FailedWrite: files of others in ``out``, or no room there.
    """
    timeout_s = 3600 + 60 * check_split(data, split)
    with opened_bundle(folder, tracker=tracker, target=target, timeout_s=timeout_s) as bundle:
        runs = f"bundle {folder}" + (f" on a board at {tracker}" if tracker else "")
        task = task_of(bundle.manifest)
        if data.task != task:
            raise UsageError(f"{runs} is for {task}, and {data.name} for {data.task}; name data for {task}")
        names = [entry["name"] for entry in bundle.classes]
        if task == "segmentation" and names != data.class_names:
            raise UsageError(
                f"{runs} tells {len(names)} classes apart ({_first(names)}), and {data.name} has "
                f"{data.num_classes} ({_first(data.class_names)}){_difference(names, data.class_names)}; "
                "deploy weights that were trained on that data"
            )
        found = list(bundle.key_points.get("names", ()))
        if task == "pose" and found != list(data.tells):
            raise UsageError(
                f"{runs} finds {len(found)} key points ({_first(found)}), and {data.name} has "
                f"{len(data.tells)} ({_first(data.tells)}){_difference(found, data.tells)}; deploy weights "
                "that were trained on that data"
            )
        return evaluate_frames(
            bundle.picture,
            data,
            split,
            network=bundle.manifest["name"],
            weights=bundle.manifest["weights"]["source"],
            resolution=f"{bundle.height}x{bundle.width}",
            runs=runs,
            kept=KeptFrames(out, data) if out else None,
            size=(bundle.height, bundle.width),
            shown=shown,
        )


def _first(names: Sequence[str]) -> str:
    return ", ".join([*names[:2], *["..."] * (len(names) > 2)])


def _difference(names: Sequence[str], others: Sequence[str]) -> str:
    """Where two lists of as many classes part, if those that are shown do not tell."""
    if len(names) != len(others) or names[:2] != others[:2]:
        return ""
    index = next(index for index, pair in enumerate(zip(names, others, strict=True)) if len(set(pair)) > 1)
    return f": class {index} is {names[index]} in the one and {others[index]} in the other"
