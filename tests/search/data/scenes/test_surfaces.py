"""Depth of drawn surfaces, by the camera's own formulas."""

import numpy as np
import pytest

from search.data.scenes.scene import MEASURED_M, draw_measured_scene, draw_scene
from search.data.scenes.surfaces import Surfaces
from search.data.scenes.things import CAMERA_HEIGHT_M, Canvas

HEIGHT, WIDTH = 96, 160


def canvas() -> tuple[Canvas, Surfaces]:
    surfaces = Surfaces(HEIGHT, WIDTH)
    return Canvas(HEIGHT, WIDTH, np.random.default_rng(0), surfaces), surfaces


def test_the_ground_and_a_wall_run_away() -> None:
    drawn, surfaces = canvas()
    drawn.ground(-400, 400, 0.5, 150, (0, 0, 0), 0)
    drawn.side(3.0, 0, 8, 1, 150, (0, 0, 0), 2)
    depth = surfaces.depth_m(MEASURED_M)
    rows, columns = np.indices(depth.shape) + 0.5
    ground = drawn.focal * CAMERA_HEIGHT_M / (rows - drawn.centre[1])
    wall = 3 * drawn.focal / (columns - drawn.centre[0])
    bottom = depth[-1, :20]
    assert bottom == pytest.approx(ground[-1, :20], rel=1e-5)
    right = depth[int(drawn.centre[1]), -20:]
    assert right == pytest.approx(wall[0, -20:], rel=1e-5)


def test_what_is_nearer_hides_what_is_behind_it() -> None:
    drawn, surfaces = canvas()
    drawn.front(-2, 2, 0, 3, 20, (0, 0, 0), 1)
    drawn.disc(0, 1.5, 0.5, 0.5, 10, (0, 0, 0), 1)
    drawn.front(-9, 9, 0, 9, 5, (0, 0, 0), None)  # colour on something, not a thing of its own
    depth = surfaces.depth_m(MEASURED_M)
    assert set(np.unique(depth)) == {0, 10, 20}
    column, row = map(int, drawn.at(0, 1.5, 10))
    assert depth[row, column] == 10


def test_what_is_too_far_or_on_the_lens_is_not_measured() -> None:
    drawn, surfaces = canvas()
    drawn.front(-200, 200, 0, 200, 81, (0, 0, 0), 1)
    assert (surfaces.depth_m(80) == 0).all()
    assert (surfaces.depth_m(100) > 0).any()
    drawn.on_lens([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], (0, 0, 0))
    assert (surfaces.depth_m(100) == 0).all()


def test_a_scene_is_the_one_that_is_labelled_and_makes_sense() -> None:
    for seed in range(3):
        image, labels = draw_scene(HEIGHT, WIDTH, np.random.default_rng(seed))
        measured, depth = draw_measured_scene(HEIGHT, WIDTH, np.random.default_rng(seed))
        assert np.array_equal(image, measured)
        assert depth.dtype == np.float32
        assert ((depth == 0) | ((depth > 0.5) & (depth <= MEASURED_M))).all()
        assert (depth[labels == 10] == 0).all()  # the sky
        road = [np.median(depth[row][labels[row] == 0]) for row in (HEIGHT * 2 // 3, HEIGHT * 4 // 5)]
        assert road[0] > road[1]
