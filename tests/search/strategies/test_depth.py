"""Searches of networks for depth, by each strategy, as short as can be."""

import csv
from pathlib import Path

import pytest

from search.architecture import load_architecture
from search.errors import InvalidRecipe
from search.problem.problem import SearchProblem
from search.results.document import load
from search.run import run_search
from search.strategies.registry import STRATEGIES

from .helpers import ALONE, CELLS, FIVE, GRID, TRAINING, Log, problem, recipe, with_budget
from .sampling.decoders import decoders, encoder_weights


def problem_of(strategy: str, folder: Path) -> SearchProblem:
    if strategy == "cosearch":
        return with_budget(problem(strategy=strategy, space=GRID, budget="3ms", task="depth"), 0.18)
    if strategy == "gas":
        return with_budget(problem(strategy=strategy, space=CELLS, task="depth"), 0.6)
    if strategy == "ppo":
        scoring = {"reward": None}
        return decoders(encoder_weights(folder), scoring=scoring, task="depth", candidates=2)
    if strategy == "evolution":
        return problem(strategy=strategy, space=FIVE, task="depth", scoring=TRAINING, candidates=2)
    return problem(strategy=strategy, space=FIVE, task="depth")


LONG = {"cosearch": pytest.mark.slow}


@pytest.mark.parametrize("strategy", [pytest.param(name, marks=LONG.get(name, ())) for name in STRATEGIES])
def test_it_finds_a_network_that_tells_metres(strategy: str, tmp_path: Path) -> None:
    wanted = problem_of(strategy, tmp_path)
    assert wanted.recipe.model_dump()["loss"]["kind"] == "berhu"
    found = run_search(wanted, tmp_path / "out", ALONE, resume=False, watch=Log())
    assert all(0 < network.score < 1 for network in found.networks)
    chosen = load_architecture(tmp_path / "out" / "chosen.yaml")
    assert (chosen.task, chosen.classes, chosen.head.outputs) == ("depth", None, 1)
    assert chosen.origin is not None
    assert "in the search RMSE " in chosen.origin
    told = load(tmp_path / "out")
    assert (told.task, told.metric) == ("depth", "RMSE")
    with (tmp_path / "out" / "networks.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(found.networks, key=lambda network: network.score)
    assert float(rows[0]["rmse_m"]) == pytest.approx(1 / best.score - 1, rel=1e-4)  # the most accurate first


def test_a_loss_that_was_chosen_is_kept_and_others_are_refused() -> None:
    assert problem(task="depth", loss={"kind": "l1"}).recipe.model_dump()["loss"] == {"kind": "l1"}
    with pytest.raises(
        InvalidRecipe, match=r"recipe tiny: loss\.kind: found 'ohem'; allowed for depth: berhu"
    ):
        recipe("random", loss={"kind": "ohem"}).for_task("depth")
    with pytest.raises(InvalidRecipe, match=r"found 'berhu'; allowed for segmentation: cross_entropy, ohem"):
        recipe("gas", loss={"kind": "berhu"}).for_task("segmentation")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_small_recipes_are_for_every_task_also_with_options(strategy: str) -> None:
    """What options change names no loss."""
    loaded = STRATEGIES[strategy].load_recipe("small", {"seed": 3})
    assert loaded.for_task("depth").model_dump()["loss"]["kind"] == "berhu"
    assert loaded.for_task("segmentation").model_dump() == loaded.model_dump()


def test_the_reward_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"found 'combined'; allowed for depth: null, for its own"):
        decoders(encoder_weights(tmp_path), task="depth")
