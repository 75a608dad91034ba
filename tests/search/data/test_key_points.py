"""Key points, and what a crop makes of them."""

import numpy as np
import pytest

from search.data.augmentation import Augmentation
from search.data.key_points import KEY_POINTS, KeyPoints, truth_array

MPII = KEY_POINTS["mpii"]
SIZE = (48, 64)


def test_mpiis_joints() -> None:
    assert len(MPII.names) == len(set(MPII.names)) == 16
    mirrored = MPII.in_mirror
    for place, name in enumerate(MPII.names):
        other = name.replace("r_", "l_", 1) if name.startswith("r_") else name.replace("l_", "r_", 1)
        assert MPII.names[mirrored[place]] == (other if name[:2] in ("r_", "l_") else name)
    assert {place for pair in MPII.skeleton for place in pair} == set(range(16))
    assert [MPII.names[place] for place in MPII.unscored] == ["pelvis", "thorax"]


def test_a_mirror_makes_left_right() -> None:
    two = KeyPoints(("l", "r", "nose"), mirrored=((0, 1),))
    truth = truth_array(np.array([(10.0, 5, 1), (20, 6, 1), (30, 7, 0)]), 8.0, SIZE)
    rng = np.random.default_rng(3)
    while True:  # until it is mirrored: a crop as large as the picture takes all of it
        _, found = Augmentation(SIZE, flip=True).apply(np.zeros((*SIZE, 3), np.uint8), truth, rng, two)
        if not np.array_equal(found, truth):
            break
    np.testing.assert_array_equal(found[:2], [(63 - 20, 6, 1), (63 - 10, 5, 1)])
    np.testing.assert_array_equal(found[2:], truth[2:])


@pytest.mark.parametrize("seed", range(12))
def test_points_stay_where_the_picture_shows_them(seed: int) -> None:
    """A bright square around the point: after scaling, cropping and mirroring it is where the point is."""
    random = np.random.default_rng(seed)
    x, y = random.integers(14, np.array(SIZE[::-1]) - 14).tolist()
    image = np.zeros((*SIZE, 3), np.uint8)
    image[y - 4 : y + 5, x - 4 : x + 5] = 255
    truth = truth_array(np.array([(x, y, 1.0)]), 8.0, SIZE)
    how = Augmentation((40, 56), (0.6, 1.8), flip=True)
    found, (point, (head_px, height, width)) = how.apply(image, truth, random, KeyPoints(("one",)))
    assert (height, width) == (40, 56)
    assert 0.6 * 8 <= head_px <= 1.8 * 8
    bright = found[..., 0] > 190  # what is around the picture is darker
    if bright.any() and not (bright[[0, -1]].any() or bright[:, [0, -1]].any()):  # no edge cuts it
        rows, columns = np.nonzero(bright)
        np.testing.assert_allclose(point, (columns.mean(), rows.mean(), 1), atol=0.7)
    elif not bright.any():
        assert point.tolist() == [0, 0, 0]


def test_what_is_outside_is_missing() -> None:
    points = np.array([(0.0, 0, 1), (63, 47, 1), (64, 10, 1), (-1, 3, 1), (5, 5, 0)])
    truth = truth_array(points, 8.0, SIZE)
    assert truth[:-1, 2].tolist() == [1, 1, 0, 0, 0]
    assert truth[2:5, :2].tolist() == [[0, 0]] * 3
    assert MPII.counts(truth)
    truth[:, 2] = 0
    assert not MPII.counts(truth)
