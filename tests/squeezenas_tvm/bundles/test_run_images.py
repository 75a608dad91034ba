"""A bundle run from Python: what is returned, what is written, and that nothing is said unasked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenas_tvm.bundles.run_images import run_bundle
from squeezenas_tvm.errors import UsageError


@pytest.fixture
def street(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    return path


def test_what_is_seen(
    sealed_bundle: Path, street: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="squeezenas_tvm"):
        done = run_bundle(sealed_bundle, [street], tmp_path / "seen", repeats=4, shown=False)
    assert (done.name, done.target, done.resolution) == ("tiny", "local-cpu", (64, 64))
    assert (done.trained, done.untuned, done.energy) == (False, False, None)
    (seen,) = done.images
    assert seen.image == street
    assert Image.open(seen.overlay).size >= (64, 64)
    assert Image.open(seen.labels).size == (64, 64)
    assert len(seen.samples_ms) == seen.latency_ms["n"] == 4
    assert min(seen.samples_ms) <= seen.latency_ms["median"] <= max(seen.samples_ms)
    assert caplog.messages == []


def test_progress_is_told_if_asked_for(
    sealed_bundle: Path, street: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="squeezenas_tvm"):
        run_bundle(sealed_bundle, [street], tmp_path / "seen", repeats=1, shown=True)
    assert any("run 1/1, took" in message for message in caplog.messages)


def test_nothing_is_made_for_an_image_that_is_not_there(sealed_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image at"):
        run_bundle(sealed_bundle, [tmp_path / "no.png"], tmp_path / "seen")
    assert not (tmp_path / "seen").exists()
