"""A bundle judged from Python."""

from pathlib import Path

import pytest

from search.data import open_data
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.evaluation.bundle import evaluate_bundle
from squeezenas_tvm.evaluation.scores import check_split, evaluate_frames

from ..conftest import expected_labels

SCENES = open_data("synthetic:4:64x64")


def test_scores_of_what_the_module_gives(sealed_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="squeezenas_tvm"):
        told = evaluate_bundle(sealed_bundle, SCENES, "train", shown=False)
        assert caplog.messages == []
    about = {"network": told.network, "weights": told.weights, "resolution": told.resolution}
    expected = evaluate_frames(expected_labels, SCENES, "train", **about, runs=told.runs, shown=False)
    assert told == expected
    assert (told.network, told.weights, told.resolution) == ("tiny", None, "64x64")
    assert (told.data, told.split, told.frames) == (SCENES.name, "train", 4)
    assert told.runs == f"bundle {sealed_bundle}"
    assert told.miou_percent is not None


def test_frames_that_are_squeezed_are_told(sealed_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluate_bundle(sealed_bundle, open_data("synthetic:4:64x128"), "train", shown=False)
    (said,) = caplog.messages
    assert said.startswith(
        "4 of 4 frames are squeezed: the network of 64x64 sees everything 2 times narrower"
    )


def test_the_right_labels_are_all_right() -> None:
    labels = dict(zip(*zip(*((f[0].tobytes(), f[1]) for f in _frames()), strict=True), strict=True))
    told = evaluate_frames(
        lambda image: labels[image.tobytes()], SCENES, "val", network="", weights=None, resolution="", runs=""
    )
    assert told.miou_percent == 100
    assert set(told.scores) == {"miou_percent", "pixel_accuracy_percent", "category_miou_percent"}
    assert set(told.scores.values()) == {100}
    assert set(told.details["iou_percent"].values()) == {100, None}


def test_classes_of_other_data_are_refused(sealed_bundle: Path) -> None:
    eleven = SCENES.__class__("eleven", SCENES.classes[:11], SCENES.frame_size, SCENES.splits)
    with pytest.raises(UsageError, match=r"tells 19 classes apart .* and eleven has 11"):
        evaluate_bundle(sealed_bundle, eleven)


def test_frames_of_a_split_are_counted() -> None:
    assert check_split(SCENES, "trainval") == len(SCENES.frames("train")) + len(SCENES.frames("val"))


def _frames() -> list[tuple[object, object]]:
    frames = SCENES.frames("val")
    return [frames[index] for index in range(len(frames))]
