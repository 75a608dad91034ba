import numpy as np
import pytest

from search.metrics import IGNORE, confusion_matrix, iou_per_class, mean_iou, pixel_accuracy

LABELS = np.array([[0, 0, 1], [1, 1, IGNORE]], np.uint8)
GIVEN = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)


def test_numbers_worked_out_by_hand() -> None:
    confusion = confusion_matrix(LABELS, GIVEN, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert pixel_accuracy(confusion) == 3 / 5
    np.testing.assert_allclose(iou_per_class(confusion), [1 / 2, 2 / 4, np.nan, np.nan])
    assert mean_iou(confusion) == 0.5  # class 2 was predicted, but no label has it: it only costs class 1


def test_frames_add_up() -> None:
    rng = np.random.default_rng(0)
    labels, given = rng.integers(0, 5, (2, 4, 8, 9), dtype=np.int64)
    frames = sum(confusion_matrix(a, b, 5) for a, b in zip(labels, given, strict=True))
    np.testing.assert_array_equal(frames, confusion_matrix(labels, given, 5))


def test_nothing_scored_is_not_a_number() -> None:
    confusion = confusion_matrix(np.full((2, 2), IGNORE), np.zeros((2, 2), int), 3)
    assert np.isnan([pixel_accuracy(confusion), mean_iou(confusion), *iou_per_class(confusion)]).all()


def test_a_mistake_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"labels are \(2, 3\), predictions \(6,\): they must be of one shape"
    ):
        confusion_matrix(LABELS, GIVEN.ravel(), 4)
    with pytest.raises(ValueError, match=r"label 7: must be 0 to 3"):
        confusion_matrix(np.array([1, 7]), np.array([0, 0]), 4)
    with pytest.raises(ValueError, match=r"prediction 2: must be 0 to 1"):
        confusion_matrix(LABELS, GIVEN, 2)
