"""Searches of networks for pose, by each strategy, as short as can be."""

import csv
from pathlib import Path

import pytest

from search.architecture import load_architecture
from search.data.key_points import KEY_POINTS
from search.problem.problem import SearchProblem
from search.results.document import load
from search.run import run_search
from search.strategies.registry import STRATEGIES

from .helpers import ALONE, CELLS, FIVE, GRID, TRAINING, Log, problem, with_budget
from .sampling.decoders import decoders, encoder_weights


def problem_of(strategy: str, folder: Path) -> SearchProblem:
    if strategy == "cosearch":
        return with_budget(problem(strategy=strategy, space=GRID, budget="3ms", task="pose"), 0.18)
    if strategy == "gas":
        return with_budget(problem(strategy=strategy, space=CELLS, task="pose"), 0.6)
    if strategy == "ppo":
        scoring = {"reward": None}
        return decoders(encoder_weights(folder), scoring=scoring, task="pose", candidates=2)
    if strategy == "evolution":
        return problem(strategy=strategy, space=FIVE, task="pose", scoring=TRAINING, candidates=2)
    return problem(strategy=strategy, space=FIVE, task="pose")


SHORT = ("random", "evolution", "ppo", "gumbel")


@pytest.mark.parametrize(
    "strategy", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SHORT)) for name in STRATEGIES]
)
def test_it_finds_a_network_that_finds_points(strategy: str, tmp_path: Path) -> None:
    wanted = problem_of(strategy, tmp_path)
    assert wanted.recipe.model_dump()["loss"] == {"kind": "heat_maps", "sigma": 2.0, "weight": 100.0}
    found = run_search(wanted, tmp_path / "out", ALONE, resume=False, watch=Log())
    assert all(0 <= network.score <= 1 for network in found.networks)
    chosen = load_architecture(tmp_path / "out" / "chosen.yaml")
    assert (chosen.task, chosen.classes, chosen.head.outputs) == ("pose", None, 16)
    assert chosen.key_points is not None
    assert chosen.key_points.key_points() == KEY_POINTS["mpii"]
    assert "in the search PCKh@0.5 " in (chosen.origin or "")
    told = load(tmp_path / "out")
    assert (told.task, told.metric) == ("pose", "PCKh@0.5")
    with (tmp_path / "out" / "networks.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(found.networks, key=lambda network: network.score)
    assert float(rows[0]["pckh_percent"]) == pytest.approx(100 * best.score, rel=1e-4)
