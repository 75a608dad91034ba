"""The command line that a search names next is one that `train` takes."""

import shlex
from pathlib import Path

import pytest

from search.strategies.registry import STRATEGIES
from search.training.recipe import load_recipe
from squeezenas_tvm import train
from squeezenas_tvm.cli import build_parser
from squeezenas_tvm.training.command import teacher_command, train_command


@pytest.mark.parametrize(
    ("data", "recipe"), [("camvid:some where", "camvid"), ("cityscapes-coarse:x", "squeezenas-paper")]
)
def test_train_takes_it(data: str, recipe: str) -> None:
    program, command, *words = shlex.split(train_command(data, Path("out")))
    assert (program, command) == ("squeezenas-tvm", "train")
    given = build_parser("train", train.add_arguments, example="").parse_args(words)
    assert (given.architecture, given.data, given.recipe) == ("out/chosen.yaml", data, recipe)
    assert given.out == Path("out/trained")


@pytest.mark.parametrize(
    ("data", "recipe"), [("camvid:x", "fasterseg-camvid"), ("cityscapes:x", "fasterseg-paper")]
)
def test_a_search_beside_a_teacher_names_its_recipe_and_the_teacher(data: str, recipe: str) -> None:
    *_, own, _, _ = shlex.split(train_command(data, Path("out"), "cosearch"))
    assert own == recipe
    taught = teacher_command(data, Path("out"), "cosearch")
    assert taught is not None
    words = shlex.split(taught[0])[2:]
    given = build_parser("train", train.add_arguments, example="").parse_args(words)
    assert (given.architecture, given.recipe) == ("out/teacher.yaml", recipe)
    assert taught[1] == given.out / "architecture.yaml"
    assert load_recipe(recipe).training
    assert teacher_command(data, Path("out"), "gumbel") is None
    assert teacher_command(data, Path("out"), "of a later release") is None


@pytest.mark.parametrize(
    ("strategy", "recipe", "expected"),
    [
        ("gumbel", "small", (None, False)),
        ("gumbel", "small", ("some where.pth", True)),
        ("evolution", "camvid-day", ("some where.pth", False)),
        ("ppo", "small", ("some where.pth", False)),
    ],
)
def test_what_the_search_began_with_the_training_begins_with(
    strategy: str, recipe: str, expected: tuple[str | None, bool]
) -> None:
    init, new_head = expected
    changes = ({"init": init} if init else {}) | ({"new_head": True} if new_head else {})
    told = STRATEGIES[strategy].load_recipe(recipe, changes).model_dump(mode="json")
    words = shlex.split(train_command("camvid:x", Path("out"), strategy, recipe=told))[2:]
    given = build_parser("train", train.add_arguments, example="").parse_args(words)
    assert (given.init, given.new_head) == expected


def test_a_recipe_of_another_release_says_nothing_of_weights() -> None:
    plain = train_command("camvid:x", Path("out"))
    for recipe in ({"scoring": "paths"}, {"scoring": None}, {"scoring": {"kind": "later"}}):
        assert train_command("camvid:x", Path("out"), recipe=recipe) == plain
