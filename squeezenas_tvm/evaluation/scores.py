"""A network sees every frame of a split at its full size, and is scored. No PyTorch: TVM must not meet it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from search.data import Data
from squeezenas_tvm.bundles.images import UInt8, squeezed
from squeezenas_tvm.evaluation.counting import COUNTING
from squeezenas_tvm.evaluation.kept import KeptFrames
from squeezenas_tvm.terminal.progress import progress

log = logging.getLogger(__name__)

Predict = Callable[[UInt8], npt.NDArray[Any]]
"""Frame (H, W, 3) -> what the network tells of it, at its size: class indices (H, W), metres (H, W)."""


@dataclass(frozen=True)
class Evaluation:
    """How right a network is on a split of a data set.

    Attributes:
        network: its name.
        weights: the file that they are from; None for random ones.
        resolution: of the network, ``HxW``.
        runs: what ran it, in words.
        task: what it is for.
        scores: by the names of ``search.tasks.words``, such as ``miou_percent`` or ``rmse_m``; None where
            nothing of the frames counts.
        details: what scores are made of, such as ``iou_percent`` by class.
    """

    network: str
    weights: str | None
    resolution: str
    runs: str
    task: str
    data: str
    split: str
    frames: int
    scores: Mapping[str, float | None]
    details: Mapping[str, Mapping[str, float | None]]

    @property
    def miou_percent(self) -> float | None:
        """Of segmentation; None of other tasks."""
        return self.scores.get("miou_percent")

    @property
    def rmse_m(self) -> float | None:
        """Of depth; None of other tasks."""
        return self.scores.get("rmse_m")

    @property
    def pckh_percent(self) -> float | None:
        """Of pose; None of other tasks."""
        return self.scores.get("pckh_percent")

    def document(self) -> dict[str, Any]:
        """For JSON."""
        about = ("network", "weights", "resolution", "runs", "task", "data", "split", "frames")
        return {**{name: getattr(self, name) for name in about}, **self.scores, **self.details}


def check_split(data: Data, split: str) -> int:
    """How many frames a split has. Raises SearchError where it lacks it, a frame, or any truth."""
    frames = data.frames(split)
    data.check(*("train", "val") if split == "trainval" else (split,))
    data.check_labelled(split)
    return len(frames)


def evaluate_frames(
    predict: Predict,
    data: Data,
    split: str,
    *,
    network: str,
    weights: str | None,
    resolution: str,
    runs: str,
    size: tuple[int, int] | None = None,
    kept: KeptFrames | None = None,
    shown: bool = True,
) -> Evaluation:
    """Show the frames one after the other, and say how right that was.

    Args:
        network, weights, resolution, runs: see `Evaluation`.
        size: height and width to which every frame is resized; a note tells where that distorts them.
        kept: writes what is to be kept for people.
        shown: draw how far it is.

    Raises FailedWrite where that cannot be written.
    """
    frames, counter = data.frames(split), COUNTING[data.task].counter(data)
    notes: list[str] = []
    with progress("evaluate", len(frames), shown=shown) as step:
        for index, name in enumerate(frames.names):
            image, truth = frames[index]
            if size and (note := squeezed(image, *size)):
                notes.append(note)
            given = predict(image)
            counter.add(truth, given)
            if kept is not None:
                kept.add(truth, given)
            step(name)
    if notes:
        log.warning("%d of %d frames are %s", len(notes), len(frames), notes[0])
    evaluation = Evaluation(
        network=network,
        weights=weights,
        resolution=resolution,
        runs=runs,
        task=data.task,
        data=data.name,
        split=split,
        frames=len(frames),
        scores=counter.scores(),
        details=counter.details(),
    )
    if kept is not None:
        read = {rank: frames[index] for rank, index in kept.ranked().items()}
        drawn = {rank: kept.drawn(image, truth, predict(image)) for rank, (image, truth) in read.items()}
        kept.write(asdict(evaluation), drawn)
    return evaluation
