"""What is said of each task, in tables, documents and to people. No PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """A score.

    Attributes:
        name: in documents and tables.
        title, unit: for people: ``mIoU`` and ``%``.
        digits: behind the point.
    """

    name: str
    title: str
    unit: str = "%"
    digits: int = 2

    def number(self, value: float | None) -> str:
        """``58.31``, or ``-`` where nobody knows."""
        return "-" if value is None else f"{value:.{self.digits}f}"

    def text(self, value: float | None) -> str:
        """``mIoU 58.31 %``."""
        return f"{self.title} {self.number(value)} {self.unit}".rstrip()


@dataclass(frozen=True)
class TaskWords:
    """Of a task.

    Attributes:
        columns: its scores; the first tells which network is better.
        of_reward: that score, by the reward 0 to 1 that searches compare networks by.
        evaluated: what ``evaluate`` tells, in order, as far as it is known; as ``columns`` when empty.
        details: what scores are made of, by their names in documents: how their table is headed.
    """

    columns: tuple[Column, ...]
    of_reward: Callable[[float], float]
    evaluated: tuple[Column, ...] = ()
    details: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def primary(self) -> Column:
        """The first column."""
        return self.columns[0]

    @property
    def lower_is_better(self) -> bool:
        """Of the first score."""
        return self.of_reward(1.0) < self.of_reward(0.5)

    def said(self, scores: Mapping[str, float | None]) -> str:
        """All that ``evaluate`` tells, in a line."""
        told = [column for column in self.evaluated or self.columns if column.name in scores]
        return ", ".join(column.text(scores[column.name]) for column in told)


def _in_percent(reward: float) -> float:
    return 100 * reward


def reward_of_error(error: float) -> float:
    """1 where nothing is wrong, 0.5 at an error of 1, never below 0: what is wrong without end is worth 0."""
    return 1 / (1 + error)


def _error(reward: float) -> float:
    """The way back."""
    return 1 / reward - 1 if reward > 0 else float("inf")


_MIOU, _PIXELS = Column("miou_percent", "mIoU"), Column("pixel_accuracy_percent", "pixels right")
_CATEGORIES = Column("category_miou_percent", "over categories")

WORDS: Mapping[str, TaskWords] = {
    "segmentation": TaskWords(
        (_MIOU, _PIXELS),
        _in_percent,
        evaluated=(_MIOU, _CATEGORIES, _PIXELS),
        details={"iou_percent": ("class", "IoU %"), "category_iou_percent": ("category", "IoU %")},
    ),
    "depth": TaskWords(
        (
            Column("rmse_m", "RMSE", "m", 3),
            Column("relative_error_percent", "relative error"),
            Column("within_1.25_percent", "within a factor of 1.25"),
            Column("within_1.25_squared_percent", "of its square"),
            Column("within_1.25_cubed_percent", "of its cube"),
        ),
        _error,
    ),
    "pose": TaskWords(
        (Column("pckh_percent", "PCKh@0.5"), Column("error_px", "error", "px")),
        _in_percent,
        details={
            "pckh_percent_by_point": ("key point", "PCKh@0.5 %"),
            "error_px_by_point": ("key point", "error px"),
        },
    ),
}
"""By task."""
