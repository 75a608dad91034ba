"""Drawn scenes: repeatable, varied, and with labels that belong to the picture."""

import numpy as np
import pytest

from search.data.scenes.scene import draw_scene
from search.data.scenes.things import CAR, ROAD, SKY, UNKNOWN, Canvas


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (96, 192), (200, 100)])
def test_any_size(size: tuple[int, int]) -> None:
    image, labels = draw_scene(*size, np.random.default_rng(0))
    assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
    assert (labels.shape, labels.dtype) == (size, np.uint8)


def test_same_seed_same_scene_and_another_another() -> None:
    first, again, other = (draw_scene(64, 128, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert np.mean(first[1] != other[1]) > 0.05


def test_scenes_show_every_class() -> None:
    seen: set[int] = set()
    for seed in range(60):
        classes = set(np.unique(draw_scene(64, 128, np.random.default_rng(seed))[1]).tolist())
        assert classes >= {ROAD, SKY}
        seen |= classes
    assert seen == {*range(19), UNKNOWN}


def test_scenes_are_not_flat() -> None:
    image, labels = draw_scene(128, 256, np.random.default_rng(1))
    assert image[labels == ROAD].std() > 3


def test_picture_and_labels_come_from_the_same_strokes() -> None:
    canvas = Canvas(60, 80, np.random.default_rng(0))
    canvas.front(-1, 1, 0, 1, 8, (200, 10, 10), CAR)
    canvas.front(-0.5, 0.5, 0.2, 0.8, 8, (10, 200, 10), None)  # a detail: colour alone
    drawn = np.asarray(canvas.image).any(-1)
    assert drawn.any()
    assert np.array_equal(drawn, np.asarray(canvas.labels) == CAR)


def test_near_things_are_larger_and_lower() -> None:
    canvas = Canvas(100, 200, np.random.default_rng(0))
    (_, near_foot), (_, far_foot) = canvas.at(0, 0, 5), canvas.at(0, 0, 50)
    assert near_foot > far_foot > canvas.centre[1]
