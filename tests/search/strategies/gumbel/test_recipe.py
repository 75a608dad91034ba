"""Recipes of searches: the shipped ones, and what is refused."""

from pathlib import Path

import pytest

from search.errors import InvalidRecipe
from search.strategies.gumbel.recipe import list_recipes, load_recipe

TEXT = """
schema_version: 1
kind: supernet-search
name: mine
summary: for a test
crop: [64, 64]
batch_size: 2
epochs: 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def test_shipped_recipes_load() -> None:
    assert {"small", "camvid", "paper"} <= set(list_recipes())
    for name in list_recipes():
        assert load_recipe(name).name == name


def test_the_papers_recipe_is_the_papers() -> None:
    paper = load_recipe("paper")
    assert paper.crop == (768, 768)
    assert paper.temperature == (5.0, 1.0)
    assert paper.remove_below == 0.005
    assert paper.judging.networks == 200
    assert (paper.weights.learning_rate, paper.weights.weight_decay) == (0.05, 1e-5)
    assert (paper.update, paper.draws, paper.cost) == ("together", "image", "expected")


def test_options_replace_single_numbers(file: Path) -> None:
    file.write_text(TEXT)
    recipe = load_recipe(file, {"epochs": 7, "networks": 5, "resource_weight": 0.3})
    assert (recipe.epochs, recipe.judging.networks, recipe.resource_weight, recipe.seed) == (7, 5, 0.3, 0)
    assert recipe.networks == 5


def test_options_of_another_strategy_are_refused(file: Path) -> None:
    file.write_text(TEXT)
    with pytest.raises(InvalidRecipe, match=r"recipe mine, with the options given: candidates: unknown key"):
        load_recipe(file, {"candidates": 3})


def test_the_papers_names_are_accepted(file: Path) -> None:
    file.write_text(TEXT + "theta: {learning_rate: 0.5, betas: [0.6, 0.9]}\nalpha: 0.25\n")
    recipe = load_recipe(file)
    assert (recipe.logits.learning_rate, recipe.logits.betas) == (0.5, (0.6, 0.9))
    assert recipe.resource_weight == 0.25
    file.write_text(TEXT + "logits: {learning_rate: 0.5, betas: [0.6, 0.9]}\nresource_weight: 0.25\n")
    assert load_recipe(file) == recipe
    assert {"logits", "resource_weight"} <= recipe.model_dump().keys()
    assert not {"theta", "alpha"} & recipe.model_dump().keys()
    assert recipe.changed({"seed": 0}) == recipe


def test_a_key_given_twice_is_told_with_its_line(file: Path) -> None:
    file.write_text(TEXT + "seed: 1\nseed: 2\n")
    with pytest.raises(InvalidRecipe, match=r"line \d+.*key 'seed' is given twice"):
        load_recipe(file)


def test_a_number_given_by_both_names_is_refused(file: Path) -> None:
    file.write_text(TEXT + "alpha: 0.25\nresource_weight: 0.5\n")
    with pytest.raises(InvalidRecipe, match="alpha"):
        load_recipe(file)


def test_all_faults_are_in_one_line(file: Path) -> None:
    file.write_text(TEXT + "temprature: [5, 1]\nupdate: jointly\n")
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe(file)
    text = str(refused.value)
    assert "temprature: unknown key, did you mean temperature?" in text
    assert "update: found 'jointly'" in text
    assert "\n" not in text


def test_a_search_needs_epochs_after_the_warm_up(file: Path) -> None:
    file.write_text(TEXT + "warmup_epochs: 3\n")
    with pytest.raises(InvalidRecipe, match=r"warmup_epochs is 3 of 3 epochs: none is left to search in"):
        load_recipe(file)
    file.write_text(TEXT + "warmup_epochs: 2\n")
    with pytest.raises(InvalidRecipe, match=r"warmup_epochs is 2 of 1 epochs"):
        load_recipe(file).changed({"epochs": 1})


def test_the_plain_form_is_not_compiled(file: Path) -> None:
    file.write_text(TEXT + "compile: true\n")
    assert load_recipe(file).compile
    file.write_text(TEXT + "compile: true\nform: plain\n")
    with pytest.raises(InvalidRecipe, match=r"compile is of the fused form; allowed: form: fused"):
        load_recipe(file)


def test_unknown_recipes_are_named_with_the_near_miss() -> None:
    with pytest.raises(InvalidRecipe, match=r"unknown search recipe 'camvit', did you mean camvid\?"):
        load_recipe("camvit")
