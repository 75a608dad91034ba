from pathlib import Path
from typing import Any

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official
import numpy as np
import numpy.typing as npt
import pytest
import torch
from cityscapesscripts.helpers.labels import labels as official_labels
from PIL import Image

from search.architecture import load_architecture
from search.data import open_data
from search.data.classes import IGNORE
from search.data.loaders import eval_loader
from search.networks.network import build_network
from search.tasks.registry import TASKS
from search.tasks.segmentation_metrics import (
    class_accuracy,
    combined_accuracy,
    confusion_matrix,
    frequency_weighted_iou,
    geometric_mean,
    iou_per_category,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from search.tasks.task import rewarded

LABELS = np.array([[0, 0, 1], [1, 1, IGNORE]], np.uint8)
GIVEN = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)


def test_numbers_worked_out_by_hand() -> None:
    confusion = confusion_matrix(LABELS, GIVEN, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert pixel_accuracy(confusion) == 3 / 5
    np.testing.assert_allclose(iou_per_class(confusion), [1 / 2, 2 / 4, 0, np.nan])
    assert mean_iou(confusion) == pytest.approx(1 / 3)  # class 2 was predicted, and no label has it
    categories = iou_per_category(confusion, ["flat", "nature", "flat", "sky"])
    assert categories == {"flat": 1 / 3, "nature": 2 / 4, "sky": pytest.approx(np.nan, nan_ok=True)}


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


def by_official_evaluation(
    folder: Path, frames: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]
) -> dict[str, Any]:
    """What Cityscapes' own evaluation says of (labels, predictions), both given as the ids of labels."""
    paths: dict[str, list[str]] = {"labels": [], "given": []}
    for index, frame in enumerate(frames):
        for name, pixels in zip(paths, frame, strict=True):
            path = folder / f"{name}_{index}.png"
            Image.fromarray(pixels).save(path)
            paths[name].append(str(path))
    arguments = official.args
    arguments.evalInstLevelScore = arguments.JSONOutput = False
    arguments.quiet = True
    results: dict[str, Any] = official.evaluateImgLists(paths["given"], paths["labels"], arguments)
    return results


def official_ids(path: Path) -> npt.NDArray[np.uint8]:
    """Label ids of a file in colour, by the official table alone."""
    colours = np.asarray(Image.open(path).convert("RGB")).astype(np.int32) @ [1 << 16, 1 << 8, 1]
    ids = np.zeros(colours.shape, np.uint8)
    for entry in reversed([entry for entry in official_labels if entry.id > 3]):
        red, green, blue = entry.color
        ids[colours == (red << 16 | green << 8 | blue)] = entry.id
    return ids


def assert_same_scores(
    confusion: npt.NDArray[np.int64], results: dict[str, Any], names: list[str], categories: list[str]
) -> None:
    classes = dict(zip(names, iou_per_class(confusion).tolist(), strict=True))
    coarse = iou_per_category(confusion, categories)
    for ours, theirs in ((classes, results["classScores"]), (coarse, results["categoryScores"])):
        assert ours == {name: pytest.approx(theirs[name], abs=1e-6, nan_ok=True) for name in ours}
        assert np.isnan([score for name, score in theirs.items() if name not in ours]).all()
    assert mean_iou(confusion) == pytest.approx(results["averageScoreClasses"], abs=1e-6)
    assert np.nanmean([*coarse.values()]) == pytest.approx(results["averageScoreCategories"], abs=1e-6)


@pytest.mark.parametrize("predicted_by", ["chance", "network"])
def test_scores_are_those_of_the_official_evaluation(
    shared_data: Path, tmp_path: Path, predicted_by: str
) -> None:
    folder = shared_data / "cityscapes-sample"
    data = open_data(f"cityscapes:{folder}")
    frames = data.frames("val")
    ids = np.array([entry.id for entry in data.classes], np.uint8)
    truths = [labels for _, labels in frames]
    if predicted_by == "network":
        guesses = guessed_by_network(shared_data)
    else:
        rng = np.random.default_rng(0)
        wrong = rng.integers(0, 19, (2, 1024, 2048), dtype=np.uint8)
        guesses = [
            np.where((labels == IGNORE) | (rng.random(labels.shape) < 0.3), guess, labels)
            for labels, guess in zip(truths, wrong, strict=True)
        ]
    confusion = sum(confusion_matrix(a, b, 19) for a, b in zip(truths, guesses, strict=True))
    theirs = [official_ids(folder / f"{name}_gtFine_labelIds.png") for name in frames.names]
    results = by_official_evaluation(
        tmp_path, [(labels, ids[guess]) for labels, guess in zip(theirs, guesses, strict=True)]
    )
    assert 0.2 < mean_iou(confusion) < 0.8
    assert_same_scores(confusion, results, data.class_names, data.categories)


def guessed_by_network(shared_data: Path) -> list[npt.NDArray[np.uint8]]:
    """By LAT-Small as published, on quarter-size frames; (1024, 2048) each."""
    weights = shared_data / "squeezenas" / "lat_small.pth"
    network = build_network(load_architecture("squeezenas-lat-small"), weights).eval()
    frames = open_data(f"cityscapes:{shared_data / 'cityscapes-sample'}").frames("val")
    guesses = []
    with torch.inference_mode():
        for images, _ in eval_loader(frames, batch_size=1, workers=0, size=(256, 512)):
            classes = network(images).argmax(1)[0].numpy().astype(np.uint8)
            guesses.append(classes.repeat(4, 0).repeat(4, 1))
    return guesses


def test_the_combined_accuracy_is_that_of_the_specification() -> None:
    assert geometric_mean(0.6, 0.7, 0.65) == pytest.approx(0.648715, abs=1e-6)


def test_the_combined_accuracy_worked_out_by_hand() -> None:
    """The third class occurs in no label: it is no class of the mean, though it was given once."""
    counts = np.array([[6, 2, 0], [1, 2, 1], [0, 0, 0]], np.int64)
    ious, accuracies = (6 / 9, 2 / 6), (6 / 8, 2 / 4)
    assert class_accuracy(counts) == pytest.approx(np.mean(accuracies))
    assert frequency_weighted_iou(counts) == pytest.approx((8 * ious[0] + 4 * ious[1]) / 12)
    expected = np.cbrt(np.mean(ious) * np.mean(accuracies) * (8 * ious[0] + 4 * ious[1]) / 12)
    assert combined_accuracy(counts) == pytest.approx(expected)
    assert np.isnan(combined_accuracy(np.zeros((3, 3), np.int64)))


def test_networks_can_be_compared_by_it() -> None:
    task, data = rewarded(TASKS["segmentation"], "combined"), open_data("synthetic:2:64x64")
    meter = task.meter(data)
    assert set(meter.scores()) == set(task.columns)
    meter.add(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]))
    assert task.reward(meter.scores()) == pytest.approx(np.cbrt(0.5 * 0.75 * (2 * 0.5 + 0.5) / 3))
    assert task.shown(0.5) == "combined accuracy 50.0 %"
    assert rewarded(TASKS["segmentation"], None) is TASKS["segmentation"]
