"""PCKh as MPII defines it: distances by the size of the head."""

import numpy as np
import pytest

from search.tasks.pose_metrics import PointCounts


def truth(*points: tuple[float, float, float], head_px: float = 10.0) -> np.ndarray:
    return np.array([[*points, (head_px, 64, 64)]], np.float32)


def test_right_up_to_half_the_head() -> None:
    counts = PointCounts(["a", "b", "c", "d"])
    counts.add(
        truth((10, 10, 1), (20, 20, 1), (30, 30, 1), (0, 0, 0)),
        np.array([[(13, 14, 0.9), (20, 25.1, 0.9), (30, 30, 0.1), (50, 50, 0.9)]]),
    )
    scores = counts.scores()
    assert scores["pckh_percent"] == pytest.approx(100 * 2 / 3)  # 5 pixels are right, 5.1 are not
    assert scores["error_px"] == pytest.approx((5 + 5.1 + 0) / 3, rel=1e-6)
    assert counts.details()["pckh_percent_by_point"] == {"a": 100.0, "b": 0.0, "c": 100.0, "d": None}
    assert counts.details()["error_px_by_point"]["d"] is None


def test_points_count_alike_over_all_frames() -> None:
    counts = PointCounts(["a", "b"])
    counts.add(truth((0, 0, 1), (0, 0, 1)), np.zeros((1, 2, 2)))
    for _ in range(2):
        counts.add(truth((9, 0, 1), (0, 0, 0)), np.zeros((1, 2, 2)))
    assert counts.scores() == {"pckh_percent": 50.0, "error_px": pytest.approx(18 / 4)}


def test_some_points_are_left_out_of_the_score_of_all() -> None:
    counts = PointCounts(["a", "pelvis"], unscored=[1])
    counts.add(truth((0, 0, 1), (30, 0, 1)), np.zeros((1, 2, 2)))
    assert counts.scores() == {"pckh_percent": 100.0, "error_px": 0.0}
    assert counts.details()["pckh_percent_by_point"] == {"a": 100.0, "pelvis": 0.0}


def test_people_without_a_head_are_not_scored() -> None:
    counts = PointCounts(["a"])
    counts.add(truth((5, 5, 1), head_px=0), np.zeros((1, 1, 2)))
    assert counts.scores() == {"pckh_percent": None, "error_px": None}


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="not 2 points"):
        PointCounts(["a", "b"]).add(truth((0, 0, 1)), np.zeros((1, 1, 3)))
