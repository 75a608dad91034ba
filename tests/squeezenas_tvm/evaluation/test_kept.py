"""What an evaluation keeps: the document adds up, and the pictures are of the frames that it names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data import open_data
from search.data.image_files import read_image
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.evaluation.kept import FILE, EvaluationDocument, KeptFrames, picture_name
from squeezenas_tvm.evaluation.scores import evaluate_frames
from squeezenas_tvm.reports.write import write_report
from targets.support.files import InTheWay

from ..pages import Page

SCENES = open_data("synthetic:10:64x96")
ABOUT: dict[str, Any] = {"network": "net", "weights": None, "resolution": "64x96", "runs": "a test"}
FRAMES = [SCENES.frames("train")[index] for index in range(len(SCENES.frames("train")))]
PLACES = {image.tobytes(): index for index, (image, _) in enumerate(FRAMES)}


def spoilt(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The truth, with a strip of the first class that is the wider the later the frame."""
    index = PLACES[image.tobytes()]
    labels = FRAMES[index][1].copy()
    labels[: 6 * index] = 0
    return labels


def evaluate(folder: Path) -> EvaluationDocument:
    evaluate_frames(spoilt, SCENES, "train", **ABOUT, kept=KeptFrames(folder, SCENES), shown=False)
    return EvaluationDocument.load(folder / FILE)


def test_counts_are_of_all_frames_and_the_shown_ones_are_best_median_and_worst(tmp_path: Path) -> None:
    told = evaluate(tmp_path)
    plain = evaluate_frames(spoilt, SCENES, "train", **ABOUT, shown=False)
    assert told.scores == plain.scores
    counts = np.array(told.confusion)
    assert counts.sum() == sum((truth != 255).sum() for _, truth in FRAMES)
    hits = np.diag(counts) / np.maximum(counts.sum(0) + counts.sum(1) - np.diag(counts), 1)
    known = counts.sum(0) + counts.sum(1) > 0
    assert 100 * hits[known].mean() == pytest.approx(plain.miou_percent)
    names = SCENES.frames("train").names
    assert [own.rank for own in told.shown] == ["best", "median", "worst"]
    assert told.shown[0].name == names[0]
    assert told.shown[0].miou_percent == 100
    order = sorted(told.shown, key=lambda own: -own.miou_percent)
    assert order == told.shown
    assert len({own.name for own in told.shown}) == 3


def test_pictures_are_the_frame_under_labels(tmp_path: Path) -> None:
    told = evaluate(tmp_path)
    for own in told.shown:
        image, truth = FRAMES[SCENES.frames("train").names.index(own.name)]
        given = spoilt(image)
        sides = [read_image(tmp_path / picture_name(own.rank, side)) for side in ("truth", "found")]
        assert {side.shape for side in sides} == {image.shape}
        differ = (sides[0] != sides[1]).any(-1)
        assert bool(differ.any()) == (own.miou_percent < 100)
        inner = np.pad(truth == given, 1)[2:, 1:-1] & (truth == given)  # borders of classes have lines
        assert not differ[-8:][inner[-8:]].any()
        blended = 0.45 * image + 0.55 * np.array(
            [SCENES.classes[c].color for c in truth.ravel() % 255]
        ).reshape(image.shape)
        assert np.median(np.abs(sides[0] - blended)) < 1


def test_it_is_written_again_but_over_nothing_of_others(tmp_path: Path) -> None:
    first = evaluate(tmp_path)
    assert evaluate(tmp_path) == first
    (tmp_path / "best-truth.png").write_bytes(b"mine")
    with pytest.raises(InTheWay, match=r"best-truth.png: there already, and not written here"):
        KeptFrames(tmp_path, SCENES)
    with pytest.raises(UsageError, match="keeps confusions of classes, and synthetic is for depth"):
        KeptFrames(tmp_path / "other", open_data("synthetic:4:64x64", "depth"))


def test_the_page_shows_it(tmp_path: Path) -> None:
    told = evaluate(tmp_path)
    written = write_report(tmp_path)
    assert written.kind == "evaluation"
    page = Page(written.page.read_text(encoding="utf-8"))
    assert page.tags.count("img") == 6
    for own in told.shown:
        assert page.words.count(f"{own.rank}: {own.name}, as ") == 2
    names, counts = [own.name for own in told.classes], np.array(told.confusion)
    for index, name in enumerate(names):
        shares = [float(text) for text in page.row(name)[1:] if text and text != "< 0.1"]
        assert sum(shares) == pytest.approx(100 if counts[index].sum() else 0, abs=2)
    assert page.text.count('class="on"') == len(names)
    assert f"is taken for {names[0]}" in page.words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"confusion": [[1]]}, "confusion: found other counts than one for each pair of classes"),
        ({"schema_version": 4}, "schema 4, this program reads 1"),
        ({"frames": "many"}, "frames: "),
    ],
)
def test_what_is_damaged_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    evaluate(tmp_path)
    raw = json.loads((tmp_path / FILE).read_text()) | change
    del raw["sha256"]
    (tmp_path / FILE).write_text(json.dumps(raw))
    with pytest.raises(UsageError, match=said):
        write_report(tmp_path)


def test_a_picture_that_is_not_there_is_told(tmp_path: Path) -> None:
    evaluate(tmp_path)
    (tmp_path / "worst-found.png").unlink()
    with pytest.raises(UsageError, match=r"worst-found.png.*; evaluate again with the same --out"):
        write_report(tmp_path)
