"""What an evaluation of a segmentation keeps for people: confusions, and its best, middle and worst frame.

Pictures show the frame under its labels, once those that are true and once those that were found.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from search.data import Data
from search.data.classes import Colour
from search.tasks.segmentation_metrics import Counts, confusion_matrix, mean_iou
from squeezenas_tvm.bundles.images import UInt8, is_sealed_png
from squeezenas_tvm.bundles.overlay import png, tinted
from squeezenas_tvm.errors import UsageError
from targets.support.document import Document, is_document
from targets.support.files import InTheWay, write_whole

FILE = "evaluation.json"
Rank = Literal["best", "median", "worst"]
RANKS: tuple[Rank, ...] = ("best", "median", "worst")
SIDES = ("truth", "found")
_Percent = Annotated[float, Field(ge=0, le=100)]


class ShownFrame(BaseModel):
    """A frame whose pictures are kept: its place among the others, its name, and its own mIoU."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: Rank
    name: str
    miou_percent: _Percent


class ToldClass(BaseModel):
    """A class by name and colour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    color: Colour


class EvaluationDocument(Document):
    """``evaluation.json``: what ``evaluate`` told.

    Attributes:
        network, weights, resolution, runs, data, split, frames, scores: see ``Evaluation``.
        classes: in the order of their indices.
        confusion: pixels of each true class, a row, that were given each class, a column.
        shown: frames whose pictures lie beside it, the best first.
    """

    WHAT: ClassVar[str] = "an evaluation"
    SUMMED: ClassVar[bool] = True
    SCHEMA: ClassVar[int] = 1
    REFUSAL = UsageError
    AGAIN: ClassVar[str] = "evaluate again with the same --out"

    network: str
    weights: str | None
    resolution: str
    runs: str
    data: str
    split: str
    frames: int
    scores: dict[str, float | None]
    classes: list[ToldClass]
    confusion: list[list[Annotated[int, Field(ge=0)]]]
    shown: list[ShownFrame]

    @model_validator(mode="after")
    def _is_square(self) -> "EvaluationDocument":
        count = len(self.classes)
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError("confusion: found other counts than one for each pair of classes")
        return self


def picture_name(rank: str, side: str) -> str:
    """File of a picture."""
    return f"{rank}-{side}.png"


class KeptFrames:
    """Looks on while frames are evaluated, and writes what is kept when that has ended.

    Args:
        folder: of what is written.

    Raises:
        UsageError: the data is for another task.
        InTheWay: files of others would be overwritten.
    """

    def __init__(self, folder: Path, data: Data) -> None:
        if data.task != "segmentation":
            raise UsageError(
                f"--out {folder}: keeps confusions of classes, and {data.name} is for {data.task}; "
                "leave it out"
            )
        ours = {folder / FILE: is_document}
        ours |= {folder / picture_name(rank, side): is_sealed_png for rank in RANKS for side in SIDES}
        if others := [str(path) for path, is_ours in ours.items() if path.exists() and not is_ours(path)]:
            raise InTheWay(
                f"{', '.join(others)}: there already, and not written here; move it away, or name another "
                "--out"
            )
        self._folder, self._data = folder, data
        self._counts: Counts = np.zeros((data.num_classes, data.num_classes), dtype=np.int64)
        self._scores: list[float] = []

    def add(self, truth: npt.NDArray[Any], given: npt.NDArray[Any]) -> None:
        """The next frame: its class indices (H, W), and what was found."""
        counts = confusion_matrix(truth, given, self._data.num_classes)
        self._counts = self._counts + counts
        self._scores.append(mean_iou(counts) if counts.sum() else float("nan"))

    def ranked(self) -> dict[Rank, int]:
        """Which frame is the best, the median and the worst; fewer where there are fewer than three."""
        known = [index for index, score in enumerate(self._scores) if score == score]
        order = sorted(known, key=lambda index: -self._scores[index])
        places: dict[Rank, int] = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
        found: dict[Rank, int] = {}
        for rank in RANKS if order else ():
            if (index := order[places[rank]]) not in found.values():
                found[rank] = index
        return found

    def write(self, told: Mapping[str, Any], pictures: Mapping[Rank, Sequence[bytes]]) -> None:
        """The document and its pictures.

        Args:
            told: fields of ``Evaluation``.
            pictures: of each rank, as ``drawn`` gives them.

        Raises FailedWrite.
        """
        names = self._data.frames(told["split"]).names
        shown = [
            ShownFrame(rank=rank, name=names[index], miou_percent=100 * self._scores[index])
            for rank, index in self.ranked().items()
        ]
        for rank, contents in pictures.items():
            for side, content in zip(SIDES, contents, strict=True):
                write_whole(self._folder / picture_name(rank, side), content, "a picture of the evaluation")
        about = {name: value for name, value in told.items() if name not in ("task", "details")}
        document = EvaluationDocument(
            schema_version=EvaluationDocument.SCHEMA,
            made_by="evaluate",
            **about,
            classes=[ToldClass(name=own.name, color=own.color) for own in self._data.classes],
            confusion=self._counts.tolist(),
            shown=shown,
        )
        document.save(self._folder / FILE)

    def drawn(self, image: UInt8, truth: npt.NDArray[Any], given: npt.NDArray[Any]) -> list[bytes]:
        """A frame under its true labels, and under those that were found, as PNG files."""
        classes = [{"index": index, "color": own.color} for index, own in enumerate(self._data.classes)]
        return [png(tinted(image, labels.astype(np.uint8), classes)) for labels in (truth, given)]
