"""Recipes of random search and of evolution: the shipped ones, and what is refused."""

from pathlib import Path

import pytest

from search.errors import InvalidRecipe
from search.strategies.registry import STRATEGIES
from search.strategies.sampling.recipe import (
    KINDS,
    EvolutionRecipe,
    PathScoring,
    ProgressiveScoring,
    SampledRecipe,
    TrainingScoring,
    list_recipes,
    load_recipe,
)

from ..helpers import EVOLUTION, PPO, RANDOM

TEXTS = {"random": RANDOM, "evolution": EVOLUTION, "ppo": PPO}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize("strategy", KINDS)
def test_shipped_recipes_load(strategy: str) -> None:
    assert {"small", "camvid"} <= set(list_recipes(strategy))
    for name in list_recipes(strategy):
        recipe = load_recipe(strategy, name)
        assert type(recipe) is KINDS[strategy]
        assert recipe.networks == (recipe.finalists or recipe.candidates)
        assert STRATEGIES[strategy].load_recipe(name, {}) == recipe
    assert STRATEGIES[strategy].list_recipes() == list_recipes(strategy)


@pytest.mark.parametrize("strategy", KINDS)
def test_options_replace_single_numbers(strategy: str, file: Path) -> None:
    file.write_text(TEXTS[strategy])
    recipe = load_recipe(strategy, file, {"epochs": 7, "seed": 3, "networks": 9})
    assert (recipe.scoring.epochs, recipe.seed, recipe.candidates, recipe.networks) == (7, 3, 9, 9)
    assert load_recipe(strategy, file).scoring.epochs == 1


def test_options_of_another_strategy_are_refused(file: Path) -> None:
    file.write_text(RANDOM)
    with pytest.raises(InvalidRecipe, match=r"recipe tiny, with the options given: paths: unknown key"):
        load_recipe("random", file, {"paths": 2})


def test_a_recipe_of_the_other_kind_is_refused(file: Path) -> None:
    file.write_text(EVOLUTION)
    with pytest.raises(InvalidRecipe, match="kind: found 'evolution'"):
        load_recipe("random", file)
    file.write_text(RANDOM)
    with pytest.raises(InvalidRecipe, match="kind: found 'random'"):
        load_recipe("evolution", file)


def test_all_faults_are_in_one_line(file: Path) -> None:
    file.write_text(EVOLUTION + "mutation: 2\nflip: 3\n")
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe("evolution", file)
    text = str(refused.value)
    assert "mutation: unknown key, did you mean mutations?" in text
    assert "flip: found 3" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("scoring: {kind: path, epochs: 1}", "scoring"),
        ("scoring: {kind: training}", "epochs: missing"),
        ("scoring: {kind: training, epochs: 1, calibration_batches: 2}", "calibration_batches: unknown key"),
        ("candidates: 0", "candidates: found 0"),
        ("scale: [2.0, 1.0]", r"scale is \[2.0, 1.0\]: smallest first"),
        ("population: 1", "population: found 1"),
        ("sample: 4", "sample is 4 of a population of 3: at most that"),
        ("mutations: 0", "mutations: found 0"),
        ("guesses: 0", "guesses: found 0"),
        ("scoring: {kind: paths, epochs: 1, sampling: just}", "sampling: found 'just'"),
        ("scoring: {kind: paths, epochs: 1, distillation: -1}", "distillation: found -1"),
        ("scoring: {kind: training, epochs: 1, average: 1}", "average: found 1"),
        ("scoring: {kind: training, epochs: 1, finalists: 2}", "finalists and final_epochs go together"),
        ("scoring: {kind: training, epochs: 1, final_epochs: 2}", "finalists and final_epochs go together"),
        ("begin: nowhere", "begin: found 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_refused(more: str, said: str, file: Path) -> None:
    key = more.split(":")[0]
    lines = [line for line in EVOLUTION.splitlines() if not line.startswith(f"{key}:")]
    file.write_text("\n".join([*lines, more]))
    with pytest.raises(InvalidRecipe, match=said) as refused:
        load_recipe("evolution", file)
    assert "\n" not in str(refused.value)


def test_changes_are_checked_together(file: Path) -> None:
    file.write_text(EVOLUTION)
    recipe = load_recipe("evolution", file)
    assert isinstance(recipe, EvolutionRecipe)
    with pytest.raises(InvalidRecipe, match="candidates: found 0"):
        recipe.changed({"networks": 0})


@pytest.mark.parametrize("strategy", KINDS)
def test_unknown_recipes_are_named_with_the_near_miss(strategy: str) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe(strategy, "smal")
    assert str(refused.value) == (
        f"unknown recipe 'smal' of {strategy}, did you mean small?; "
        f"allowed: {', '.join(list_recipes(strategy))}, or the path of a .yaml file of your own"
    )


def test_decoders_are_compared_by_equal_scoring() -> None:
    """Of all three strategies, and as many networks."""
    recipes = [
        load_recipe("ppo", "camvid"),
        *(load_recipe(name, "decoders") for name in ("random", "evolution")),
    ]
    same = [
        recipe.model_dump(include=set(SampledRecipe.model_fields) - {"name", "summary"}) for recipe in recipes
    ]
    assert same[0] == same[1] == same[2]


def test_weights_to_begin_with_are_given_by_an_option() -> None:
    recipe = load_recipe("ppo", "small", {"init": "lat_small.pth", "networks": 3})
    assert isinstance(recipe.scoring, ProgressiveScoring)
    assert (recipe.scoring.init, recipe.candidates) == ("lat_small.pth", 3)
    paths = load_recipe("random", "small", {"init": "lat_small.pth", "new_head": True}).scoring
    assert isinstance(paths, PathScoring)
    assert (paths.init, paths.new_head) == ("lat_small.pth", True)
    trained = load_recipe("random", "training", {"init": "lat_small.pth"}).scoring
    assert isinstance(trained, TrainingScoring)
    assert (trained.init, trained.new_head) == ("lat_small.pth", False)


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        ("{frames: 4, epochs: 1, batch_size: 8}", "batch_size is 8 of 4 frames: at most that"),
        ("{frames: 8, epochs: 1, batch_size: 8, validations: 2}", "validations are 2 in 1 epochs"),
        ("{frames: 8, batch_size: 8}", "epochs: missing"),
    ],
)
def test_stages_that_do_not_fit_are_refused(decoder: str, said: str, file: Path) -> None:
    lines = [line for line in PPO.splitlines() if not line.startswith("scoring:")]
    file.write_text("\n".join([*lines, f"scoring: {{kind: progressive, decoder: {decoder}}}"]))
    with pytest.raises(InvalidRecipe, match=said):
        load_recipe("ppo", file)
