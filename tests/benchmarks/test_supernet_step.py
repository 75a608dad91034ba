"""The benchmark of supernets: what it refuses, and that a step of the grid learns what it should."""

import subprocess
import sys
from pathlib import Path

import pytest
import supernet_step
import torch
from grid_training import GridTraining
from supernet_step import main

from search.resolution import Resolution


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--space", "fasterseg-student", "--paths", "2"], "--paths: space fasterseg-student has no such"),
        (["--layers", "8"], "--layers: space small has no such setting"),
        (
            ["--space", "fasterseg-student", "--forms", "pruned"],
            "--forms pruned: space fasterseg-student has",
        ),
        (
            ["--space", "fastdense"],
            "--space fastdense: there is no supernet of it; allowed: squeezenas-small, ",
        ),
        (["--rounds", "0"], "argument --rounds: '0' is not a whole number of 1 or more"),
        (["--batch", "-1"], "argument --batch: '-1' is not a whole number of 1 or more"),
        (["--forms", "published"], "--forms published: space small has plain, plain-channels-last, fused"),
    ],
)
def test_settings_of_other_spaces_are_refused(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["supernet_step.py", *arguments])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--space", "gas", "--batch", "1", "--size", "64"], "crop 64x64, 1 image: the decoder's pooled map"),
        (["--space", "gas", "--size", "72"], "crop 72x72: a supernet takes sides that 16 divides"),
    ],
)
def test_what_a_form_refuses_is_one_line(arguments: list[str], said: str) -> None:
    command = [sys.executable, str(Path(supernet_step.__file__)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_step_moves_the_logits_and_weights_of_both_learners() -> None:
    training = GridTraining("fused", Resolution(64, 64), 2, layers=8, base=3)
    before = {name: values.clone() for name, values in training.parameters().items()}
    training.step()
    still = {name for name, values in training.parameters().items() if torch.equal(values, before[name])}
    no_choice = {f"learners.teacher.ratio.{scale}" for scale in range(3)}
    assert {name for name in still if "norm" not in name} == no_choice, (
        "only widths that nobody drew rest, too"
    )
