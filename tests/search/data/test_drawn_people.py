"""Drawn people and their true key points."""

import numpy as np
import pytest

from search.data import open_data
from search.data.key_points import KEY_POINTS
from search.data.scenes.figure import Figure
from search.data.scenes.scene import draw_person
from search.data.scenes.things import PERSON, Canvas
from search.errors import InvalidData

MPII = KEY_POINTS["mpii"]


def test_frames_have_mpiis_points() -> None:
    data = open_data("synthetic:6", "pose")
    assert (data.task, data.truth, data.frame_size) == ("pose", MPII, (256, 256))
    assert [len(data.frames(split)) for split in ("train", "val", "test")] == [6, 2, 2]
    data.check()
    data.check_labelled("train", "val")
    for image, truth in open_data("synthetic:6:96x64", "pose").frames("train"):
        assert (image.shape, truth.shape, truth.dtype) == ((96, 64, 3), (17, 3), np.float32)
        points, (head_px, height, width) = truth[:-1], truth[-1]
        assert (height, width) == (96, 64)
        assert 3 < head_px < 15
        assert points[:, 2].mean() > 0.7
        seen = points[points[:, 2] == 1]
        assert ((seen[:, :2] > -0.5) & (seen[:, :2] < (63.5, 95.5))).all()


def test_people_are_always_the_same_and_never_twice_in_the_set() -> None:
    data, larger = open_data("synthetic:5:64x64", "pose"), open_data("synthetic:9:64x64", "pose")
    frames = [data.frames(split)[index] for split in data.splits for index in range(len(data.frames(split)))]
    assert len({image.tobytes() for image, _ in frames}) == len(frames)
    assert len({truth.tobytes() for _, truth in frames}) == len(frames)
    for (image, truth), index in zip((data.frames("train")[i] for i in range(5)), range(5), strict=True):
        again, told = larger.frames("train")[index]
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(truth, told)


def test_limbs_are_as_long_as_they_are_in_people() -> None:
    for seed in range(30):
        figure = Figure.drawn(0.5, 6.0, np.random.default_rng(seed))
        at, tall = figure.points, figure.tall
        assert set(at) == set(MPII.names)
        for one, other, share in (
            ("l_hip", "l_knee", 0.245),
            ("r_knee", "r_ankle", 0.246),
            ("r_shoulder", "r_elbow", 0.172),
            ("l_elbow", "l_wrist", 0.157),
            ("upper_neck", "head_top", 0.13),
        ):
            assert np.linalg.norm(at[one] - at[other]) == pytest.approx(share * tall)
        assert min(point[1] for point in at.values()) == pytest.approx(0.04 * tall, abs=0.25 * tall)
        assert figure.head_m == pytest.approx(0.1 * tall, rel=0.01)
        # They look to the camera rather than away: their left is on the picture's right
        assert at["l_hip"][0] > at["r_hip"][0]


def test_points_lie_on_the_person() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        canvas, figure = Canvas(160, 160, rng), Figure.drawn(0.0, 8.0, rng)
        x, y, z = figure.middle.tolist()
        canvas.look_at((x, y, z), 0.7 * 160 * z / figure.tall, (80, 80))
        figure.draw(canvas)
        labels = np.asarray(canvas.labels)
        for name, point in figure.points.items():
            across, down = canvas.at(*point)
            if 1 <= across < 159 and 1 <= down < 159:
                row, column = int(down), int(across)  # the top of a head may be a pixel beside it
                assert (labels[row - 1 : row + 2, column - 1 : column + 2] == PERSON).any(), name


def test_a_head_is_as_large_as_its_points_are_apart() -> None:
    image, points, head_px = draw_person(128, 128, np.random.default_rng(3))
    assert image.shape == (128, 128, 3)
    assert set(points) == set(MPII.names)
    (ax, ay), (bx, by) = points["head_top"], points["upper_neck"]
    assert 0.5 < head_px / np.hypot(ax - bx, ay - by) < 1.5


def test_classes_are_not_key_points() -> None:
    with pytest.raises(InvalidData, match=r"is for segmentation, not for pose"):
        open_data("synthetic:2+camvid:nowhere", "pose")
