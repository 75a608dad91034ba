"""How right key points are: distances and shares of right ones. No PyTorch.

PCKh (MPII Human Pose, CVPR 2014): a point is right where it is no further from the true one than a share of
the length of the head segment, which for MPII is 0.6 times the diagonal of the box around the head.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Scores = dict[str, float | None]
SHARE = 0.5  # of the head's size: PCKh@0.5
COLUMNS = ("pckh_percent", "error_px")


class PointCounts:
    """Counts points, and those that are right, each by its name.

    Args:
        names: in the order of the points.
        unscored: places of points that the scores of all leave out.
    """

    def __init__(self, names: Sequence[str], unscored: Sequence[int] = ()) -> None:
        self.names, self._unscored = list(names), list(unscored)
        self.sums = np.zeros((3, len(self.names)))  # points, those that are right, distances in pixels

    def add(self, truth: Array, predicted: Array) -> None:
        """Take frames in; missing points, and people of whose head nobody says the size, are left out.

        Args:
            truth: (N, points + 1, 3), see ``search.data.key_points``.
            predicted: (N, points, 2 or 3), x and y in pixels of the same pictures.

        Raises ValueError for other shapes.
        """
        count = len(self.names)
        if truth.shape[1:] != (count + 1, 3) or predicted.shape[:2] != (len(truth), count):
            raise ValueError(f"truth is {truth.shape}, predictions {predicted.shape}: not {count} points")
        head_px = truth[:, -1:, 0].astype(np.float64)
        scored = (truth[:, :-1, 2] > 0) & (head_px > 0)
        distance_px = np.linalg.norm(predicted[..., :2].astype(np.float64) - truth[:, :-1, :2], axis=2)
        right = scored & (distance_px <= SHARE * head_px)
        self.sums += [scored.sum(0), right.sum(0), np.where(scored, distance_px, 0).sum(0)]

    def scores(self) -> Scores:
        """By ``COLUMNS``, over all points that count; None where none does."""
        counted = np.delete(self.sums, self._unscored, axis=1).sum(1)
        points, right, distance_px = (float(value) for value in counted)
        if not points:
            return dict.fromkeys(COLUMNS)
        return {"pckh_percent": 100 * right / points, "error_px": distance_px / points}

    def details(self) -> dict[str, dict[str, float | None]]:
        """The same of each point by its name; None for those that do not occur."""
        points, right, distance_px = self.sums
        rows = {"pckh_percent_by_point": 100 * right, "error_px_by_point": distance_px}
        return {
            key: {
                name: float(total / number) if number else None
                for name, total, number in zip(self.names, totals, points, strict=True)
            }
            for key, totals in rows.items()
        }
