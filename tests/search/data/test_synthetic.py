"""Drawn scenes as a data set."""

import numpy as np

from search.data import open_data
from search.data.classes import IGNORE


def test_counts_and_sizes() -> None:
    data = open_data("synthetic")
    assert (data.name, data.num_classes, data.frame_size) == ("synthetic", 19, (256, 512))
    assert [len(data.frames(split)) for split in ("train", "val", "test")] == [200, 40, 40]
    image, labels = data.frames("val")[0]
    assert (image.shape, labels.shape) == ((256, 512, 3), (256, 512))
    assert len(open_data("synthetic:7").frames("trainval")) == 9
    assert open_data("synthetic:7:64x96").frames("train")[6][0].shape == (64, 96, 3)


def test_scenes_are_always_the_same_and_never_twice_in_the_set() -> None:
    data, larger = open_data("synthetic:6:64x64"), open_data("synthetic:30:64x64")
    scenes = [image.tobytes() for split in data.splits for image, _ in data.frames(split)]
    assert len(set(scenes)) == len(scenes) == 10
    for split in data.splits:
        assert np.array_equal(data.frames(split)[1][0], larger.frames(split)[1][0])
    names = [name for split in data.splits for name in data.frames(split).names]
    assert len(set(names)) == len(names)


def test_all_classes_are_there() -> None:
    frames = open_data("synthetic:60:64x128").frames("train")
    seen = {value for _, labels in frames for value in np.unique(labels).tolist()}
    assert seen == {*range(19), IGNORE}


def test_nothing_to_check() -> None:
    open_data("synthetic:3").check()
