"""The command line that a search names next is one that `train` takes."""

import shlex
from pathlib import Path

import pytest

from squeezenas_tvm import train
from squeezenas_tvm.cli import build_parser
from squeezenas_tvm.training.command import train_command


@pytest.mark.parametrize(
    ("data", "recipe"), [("camvid:some where", "camvid"), ("cityscapes-coarse:x", "squeezenas-paper")]
)
def test_train_takes_it(data: str, recipe: str) -> None:
    program, command, *words = shlex.split(train_command(data, Path("out")))
    assert (program, command) == ("squeezenas-tvm", "train")
    given = build_parser("train", train.add_arguments, example="").parse_args(words)
    assert (given.architecture, given.data, given.recipe) == ("out/chosen.yaml", data, recipe)
    assert given.out == Path("out/trained")
