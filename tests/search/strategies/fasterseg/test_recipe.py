"""Recipes of searches of a grid: the shipped ones, and what is refused."""

from pathlib import Path

import pytest

from search.errors import InvalidRecipe
from search.strategies.fasterseg.recipe import list_recipes, load_recipe

TEXT = """
schema_version: 1
kind: cosearch
name: mine
summary: for a test
crop: [64, 64]
batch_size: 2
epochs: 3
pretraining: {epochs: 1, crop: [64, 96], batch_size: 3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def test_shipped_recipes_load_and_suit_the_grid() -> None:
    assert set(list_recipes()) == {"small", "camvid", "fasterseg-paper"}
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert all(side % 32 == 0 for side in (*recipe.crop, *recipe.pretraining.crop))


def test_the_papers_recipe_is_the_papers() -> None:
    paper = load_recipe("fasterseg-paper")
    before = paper.pretraining
    assert (before.epochs, before.crop, before.batch_size) == (20, (256, 512), 3)
    assert (paper.epochs, paper.crop, paper.batch_size) == (30, (224, 448), 2)
    assert (before.learning_rate, paper.weights.learning_rate) == (0.02, 0.01)
    assert (paper.weights.momentum, paper.weights.weight_decay) == (0.9, 5e-4)
    assert (paper.weights.decay, paper.weights.gradient_norm) == (0.978, 5.0)
    assert (paper.logits.learning_rate, paper.logits.betas) == (3e-4, (0.5, 0.999))
    assert paper.resource_weight == 0.01
    assert paper.shares is not None
    assert paper.shares.model_dump() == {"operation": 1.0, "path": 497.0, "width": 2.0}
    loss = paper.loss.model_dump()
    assert (loss["kind"], loss["threshold"], loss["min_kept"]) == ("ohem", 0.7, 0.0625)
    for (height, width), images, kept in ((before.crop, 3, 384), (paper.crop, 2, 196)):
        assert int(0.0625 * images * (height // 8) * (width // 8)) == kept


def test_what_is_left_out_is_the_papers_but_for_the_shares(file: Path) -> None:
    file.write_text(TEXT)
    mine, paper = load_recipe(file), load_recipe("fasterseg-paper")
    assert (mine.weights, mine.logits, mine.resource_weight) == (paper.weights, paper.logits, 0.01)
    assert mine.shares is None
    assert (mine.all_epochs, mine.networks) == (4, 4)


def test_options_replace_single_numbers(file: Path) -> None:
    file.write_text(TEXT)
    recipe = load_recipe(file, {"epochs": 7, "seed": 3, "resource_weight": 0.3})
    assert (recipe.epochs, recipe.seed, recipe.resource_weight) == (7, 3, 0.3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"networks": 9}, "--networks is not for cosearch: it judges 4; leave it out"),
        ({"paths": 2}, "--paths is not for cosearch: it trains all paths; leave it out"),
        ({"epochs": 0}, "recipe mine, with the options given: epochs: found 0; "),
    ],
)
def test_options_that_it_does_not_have(changes: dict[str, int], said: str, file: Path) -> None:
    file.write_text(TEXT)
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe(file, changes)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("shares: {operation: 0, path: 0, width: 0}", "shares: .*all are 0; allowed: one above 0 at least"),
        ("weights: {decay: 1.5}", r"weights\.decay: found 1\.5"),
        ("temperature: 2", "temperature: unknown key"),
    ],
)
def test_recipes_that_mean_nothing(more: str, said: str, file: Path) -> None:
    file.write_text(f"{TEXT}{more}\n")
    with pytest.raises(InvalidRecipe, match=said):
        load_recipe(file)


def test_names_that_there_are_not() -> None:
    said = r"unknown recipe of cosearch 'paper'.*; allowed: camvid, fasterseg-paper, small, or the path of"
    with pytest.raises(InvalidRecipe, match=said):
        load_recipe("paper")
