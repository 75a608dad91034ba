"""Recipes of searches after GAS: the shipped ones, and what is refused."""

from pathlib import Path

import pytest

from search.errors import InvalidRecipe
from search.spaces.gas.spaces import GAS
from search.strategies.gas.recipe import list_recipes, load_recipe

TEXT = """
schema_version: 1
kind: gas
name: mine
summary: for a test
crop: [64, 64]
batch_size: 2
epochs: 10
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def test_shipped_recipes_suit_the_spaces_and_say_what_they_are() -> None:
    assert set(list_recipes()) == {"small", "camvid", "paper"}
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.summary.startswith("after GAS")
        assert all(side % space.chain.stride == 0 for side in recipe.crop for space in GAS)
        assert min(recipe.crop) >= GAS[0].chain.least_side


def test_the_papers_recipe_is_that_of_the_specification_and_so_is_what_is_left_out(file: Path) -> None:
    paper = load_recipe("paper")
    assert (paper.batch_size, paper.epochs, paper.warmup_epochs, paper.crop) == (16, 60, 12, (256, 512))
    file.write_text(TEXT)
    for recipe in (paper, load_recipe(file)):
        weights, logits = recipe.weights, recipe.logits
        assert (weights.learning_rate, weights.last_learning_rate) == (0.025, 0.001)
        assert (weights.momentum, weights.weight_decay) == (0.9, 1e-3)
        assert (logits.learning_rate, logits.betas, logits.weight_decay) == (1e-3, (0.5, 0.999), 1e-4)
        assert recipe.temperature == (1.0, 0.03)
        assert (recipe.message, recipe.sends, recipe.gamma, recipe.hidden) == ("gcn", "own", 0.5, 64)
        assert recipe.resource_weight == 0.005


def test_options_replace_single_values(file: Path) -> None:
    file.write_text(f"{TEXT}beta: 0.1\n")
    assert load_recipe(file).resource_weight == 0.1
    changes = {"epochs": 7, "seed": 3, "resource_weight": 0.3, "message": "none", "networks": 4}
    recipe = load_recipe(file, changes)
    assert (recipe.epochs, recipe.seed, recipe.resource_weight) == (7, 3, 0.3)
    assert (recipe.message, recipe.networks, recipe.warmup_epochs) == ("none", 4, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"paths": 2}, "--paths is not for gas: it trains all operations; leave it out"),
        ({"message": "gnc"}, r"^recipe mine, with the options given: message: found 'gnc'.*'gcn', 'linear'"),
        ({"resource_weight": -0.1}, r"resource_weight: found -0\.1.*"),
    ],
)
def test_options_that_mean_nothing(changes: dict[str, object], said: str, file: Path) -> None:
    file.write_text(TEXT)
    with pytest.raises(InvalidRecipe, match=said):
        load_recipe(file, changes)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("beta: -0.005", r"beta: found -0\.005"),
        ("message: rnn", r"message: found 'rnn'"),
        ("weights: {learning_rate: 0.001, last_learning_rate: 0.01}", "last_learning_rate is 0.01, allowed"),
        ("temperature: [1.0, 0.0]", "temperature"),
        ("warmup: 1.0", "warmup"),
        ("remove_below: 0.1", "remove_below: unknown key"),
    ],
)
def test_recipes_that_mean_nothing(more: str, said: str, file: Path) -> None:
    file.write_text(f"{TEXT}{more}\n")
    with pytest.raises(InvalidRecipe, match=said):
        load_recipe(file)


def test_batches_of_one_image_are_refused(file: Path) -> None:
    """Of which a pooled map has no batch statistics; so are those of all searches."""
    file.write_text(TEXT.replace("batch_size: 2", "batch_size: 1"))
    with pytest.raises(InvalidRecipe, match=r"batch_size: found 1; allowed: greater than or equal to 2"):
        load_recipe(file)
