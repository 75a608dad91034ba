"""Data on which not one pixel is labelled teaches and judges nothing: each command says so at once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenas_tvm.evaluate import main as evaluate
from squeezenas_tvm.search import main as search
from squeezenas_tvm.train import main as train

from .helpers import refused_by

VOID = 11
SMALLEST = "squeezenas-lat-small-camvid"


@pytest.fixture
def void(tmp_path: Path) -> str:
    """A CamVid folder whose label files are all void."""
    for split in ("train", "val", "test"):
        for index in range(2):
            for folder, pixels in (
                (split, np.zeros((64, 64, 3))),
                (f"{split}annot", np.full((64, 64), VOID)),
            ):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / f"{index}.png")
    return f"camvid:{tmp_path}"


def test_evaluate(void: str, capfd: pytest.CaptureFixture[str]) -> None:
    refused_by(evaluate, [SMALLEST, "--data", void], "not one pixel of the 2 val frames is labelled", capfd)


def test_train(void: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = [SMALLEST, "--data", void, "--recipe", "camvid", "--out", str(tmp_path / "out")]
    refused_by(train, argv, "not one pixel of the 2 train frames is labelled", capfd)


def test_search(void: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = ["--target", "jetson-xavier", "--data", void, "--resolution", "64x128", "--budget", "4ms"]
    argv += ["--out", str(tmp_path / "out")]
    refused_by(search, argv, "not one pixel of the 2 train frames is labelled", capfd)
