"""MPII as it is handed out, and in the JSON files of "Simple Baselines"."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from search.data import open_data
from search.data.key_points import KEY_POINTS
from search.errors import InvalidData

from .people_files import MPII, POINTS, entry, mpii_json, mpii_matlab


def test_people_of_the_json_files(tmp_path: Path) -> None:
    data = open_data(f"mpii:{mpii_json(tmp_path, [entry(), entry()], [entry()])}")
    assert (data.name, data.task, data.frame_size) == ("mpii", "pose", (256, 256))
    assert data.truth == KEY_POINTS["mpii"]
    assert data.tells == list(MPII)
    assert [len(data.frames(split)) for split in ("train", "val")] == [2, 1]
    data.check()
    image, truth = data.frames("train")[0]
    assert (image.shape, truth.shape, truth.dtype) == ((256, 256, 3), (17, 3), np.float32)
    # A person of scale 0.6 is 150 pixels with what is around them, and lies 9 pixels deeper than told
    scale = 256 / 150
    wanted = [(x - 1 - 139 + 75) * scale + scale / 2 - 0.5 for x, _ in POINTS]
    np.testing.assert_allclose(truth[:-1, 0], [x - scale / 2 for x in wanted], atol=scale)
    assert truth[:-1, 2].tolist() == [1] * 16
    head = np.hypot(5, 3) * scale  # of head_top and upper_neck
    np.testing.assert_allclose(truth[-1], [head, 256, 256], rtol=1e-5)


def test_points_lie_where_the_picture_shows_them(tmp_path: Path) -> None:
    """Red tells the column of the original, green its row."""
    image, truth = open_data(f"mpii:{mpii_json(tmp_path, [entry()])}").frames("train")[0]
    for (x, y, _), (at_x, at_y) in zip(truth[:-1].tolist(), POINTS, strict=True):
        red, green, _ = image[round(y), round(x)].astype(float)
        assert red * 320 / 255 == pytest.approx(at_x - 1, abs=2.5)
        assert green * 240 / 255 == pytest.approx(at_y - 1, abs=2.5)


def test_missing_points_are_missing(tmp_path: Path) -> None:
    visible = [0, *[1] * 15]
    joints = [*POINTS[:-1], [-1, -1]]
    person = entry(joints=joints, joints_vis=visible)
    _, truth = open_data(f"mpii:{mpii_json(tmp_path, [person])}").frames("train")[0]
    assert truth[0].tolist() == truth[15].tolist() == [0, 0, 0]
    assert truth[1:15, 2].tolist() == [1] * 14


def test_heads_of_validation_are_those_of_the_evaluation(tmp_path: Path) -> None:
    folder = mpii_json(tmp_path, [entry()], [entry(), entry()])
    boxes = np.zeros((2, 2, 2))
    boxes[1, :, 0], boxes[1, :, 1] = (30, 40), (6, 8)
    scipy.io.savemat(folder / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    sizes = [truth[-1, 0] for _, truth in open_data(f"mpii:{folder}").frames("val")]
    np.testing.assert_allclose(sizes, [0.6 * 50 * 256 / 150, 0.6 * 10 * 256 / 150], rtol=1e-5)
    scipy.io.savemat(folder / "annot" / "gt_valid.mat", {"headboxes_src": boxes[..., :1]})
    with pytest.raises(InvalidData, match="no headboxes_src of 2x2x2"):
        open_data(f"mpii:{folder}")


def test_mpiis_own_file(tmp_path: Path) -> None:
    data = open_data(f"mpii:{mpii_matlab(tmp_path, (10, 3, 7), (1, 1, 0))}")
    assert {split: data.frames(split).names for split in data.splits} == {"train": ["1_0"], "val": ["0_0"]}
    _, truth = data.frames("train")[0]
    assert truth[:-1, 2].tolist() == [1] * 15 + [0]
    np.testing.assert_allclose(truth[-1, 0], 0.6 * 50 * 256 / 150, rtol=1e-5)  # the head's box is 30 x 40
    json_folder = tmp_path / "json"
    json_folder.mkdir()
    _, same = open_data(f"mpii:{mpii_json(json_folder, [entry()])}").frames("train")[0]
    np.testing.assert_allclose(truth[:15], same[:15], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joints": POINTS[:15]}, "person 1: joints: allowed: 16 points"),
        ({"joints_vis": [1] * 15}, "person 1: joints_vis: found .*; allowed: 16 numbers"),
        ({"center": [1]}, "person 1: center: found .1.; allowed: 2 numbers"),
        ({"scale": 0}, "person 1: scale: found 0; allowed: above 0"),
        ({"image": "../a.png"}, "person 1: found '../a.png'; allowed: a path below"),
        ({"joints": [[1e9, 0]] * 16}, "person 1: joints: found .*1000000000.*; allowed: 2 numbers below"),
    ],
)
def test_unsound_people_are_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    folder = mpii_json(tmp_path, [entry(**change)])
    with pytest.raises(InvalidData, match=said):
        open_data(f"mpii:{folder}")


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    folder = mpii_json(tmp_path, [entry(scale=float("nan"))])
    with pytest.raises(InvalidData, match=r"train.json: no JSON: "):
        open_data(f"mpii:{folder}")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"no MPII: it has neither annot/train.json nor mpii_human_pose"):
        open_data(f"mpii:{tmp_path}")
    with pytest.raises(InvalidData, match=r"is for pose, not for segmentation"):
        open_data(f"mpii:{tmp_path}", "segmentation")


def test_pictures_that_are_not_there_are_named(tmp_path: Path) -> None:
    data = open_data(f"mpii:{mpii_json(tmp_path, [entry('b.png')])}")
    with pytest.raises(InvalidData, match=r"b\.png"):
        data.check()
