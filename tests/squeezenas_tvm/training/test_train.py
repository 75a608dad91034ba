"""A training from Python."""

from pathlib import Path

import pytest

from search.architecture import load_architecture
from search.training.recipe import load_recipe
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.training.train import train_architecture

from ..test_train import ARCHITECTURE, SCENES, recipe


def test_what_is_made_is_returned_and_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, given = tmp_path / "out", load_recipe(recipe(tmp_path))
    with caplog.at_level("INFO", logger="squeezenas_tvm"):
        trained = train_architecture(ARCHITECTURE, SCENES, given, out, workers=0, shown=False)
    assert caplog.messages == []
    assert trained.folder == out
    assert load_architecture(trained.architecture).weights_path == out / "best.safetensors"
    assert (trained.best["architecture"], trained.best["recipe"]) == ("smallest", "tiny")
    with pytest.raises(UsageError, match="holds a training"):
        train_architecture(ARCHITECTURE, SCENES, given, out, workers=0)
    again = train_architecture(ARCHITECTURE, SCENES, given, out, workers=0, resume=True, shown=False)
    assert again.best == trained.best
