"""Depth in colours, with a scale."""

import numpy as np
import pytest

from squeezenas_tvm.bundles.depth_picture import ANCHORS, NOTHING, coloured, draw_depth, span_m
from squeezenas_tvm.bundles.panel import PANEL
from squeezenas_tvm.bundles.values import resize_metres

DEPTH = np.geomspace(2, 60, 64 * 96).reshape(64, 96).astype(np.float32)
IMAGE = np.full((64, 96, 3), 90, np.uint8)


def test_near_is_bright_far_is_dark_and_nothing_is_black() -> None:
    colours = coloured(np.array([[2.0, 60.0, 1.0, 99.0, 0.0]]), 2, 60)
    assert colours.tolist() == [
        [list(c) for c in (ANCHORS[0], ANCHORS[-1], ANCHORS[0], ANCHORS[-1], NOTHING)]
    ]
    middle = coloured(np.array([[(2 * 60) ** 0.5]]), 2, 60)  # by the logarithm
    assert middle.tolist() == [[list(ANCHORS[len(ANCHORS) // 2])]]
    brightness = coloured(np.geomspace(2, 60, 50)[None], 2, 60).sum(-1)[0].tolist()
    assert brightness == sorted(brightness, reverse=True)


def test_a_few_odd_pixels_do_not_take_the_colours() -> None:
    depth = np.full((100, 100), 5.0)
    depth[:50] = 10.0
    depth[0, :5], depth[1, :5], depth[2, :5] = 9000.0, 0.01, 0.0
    assert span_m(depth) == (5, 10)
    low, high = span_m(np.full((4, 4), 7.0))
    assert high / low == pytest.approx(1.5)
    assert low < 7 < high
    assert span_m(np.zeros((4, 4))) == (1, 10)


def test_the_picture_stands_above_its_depth_beside_the_scale() -> None:
    picture = np.asarray(draw_depth(IMAGE, DEPTH, title="net", notes=("cpu, 64 x 96",), warning="untrained"))
    factor = 6  # to 512 pixels at least
    height, width = 2 * 64 * factor, 96 * factor
    assert picture.shape[0] == height
    assert picture.shape[1] > width
    assert (picture[: height // 2, :width] == 90).all()
    low, high = span_m(DEPTH)
    assert np.array_equal(picture[height // 2 :: factor, :width:factor], coloured(DEPTH, low, high))
    panel = picture[:, width:].reshape(-1, 3)
    shown = {tuple(pixel) for pixel in panel.tolist()}
    assert {ANCHORS[0], ANCHORS[-1], PANEL} <= shown | {ANCHORS[0], ANCHORS[-1]}
    bar = [tuple(coloured(np.array([[value]]), low, high)[0, 0].tolist()) for value in (3, 10, 40)]
    assert all(min(np.abs(panel.astype(int) - colour).sum(1)) <= 6 for colour in bar)
    assert {tuple(pixel) for pixel in picture[-4:, -4:].reshape(-1, 3)} == {PANEL}


@pytest.mark.parametrize("depth", [np.zeros((64, 96)), np.full((64, 96), 3.0), 1e-3 * DEPTH, 1e3 * DEPTH])
def test_any_depth_can_be_drawn(depth: np.ndarray) -> None:
    assert draw_depth(IMAGE, depth).size[1] == 2 * 64 * 6


def test_metres_are_resized_between_pixel_centres() -> None:
    assert resize_metres(np.array([[1.0, 3.0]], np.float32), 2, 4).tolist() == [[1, 1.5, 2.5, 3]] * 2
    same = resize_metres(DEPTH, 64, 96)
    assert np.array_equal(same, DEPTH)
    assert same.dtype == np.float32
