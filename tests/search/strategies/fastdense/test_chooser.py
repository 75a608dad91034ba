"""Networks that the controller draws, and what it is paid for them."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from search.problem.problem import SearchProblem
from search.strategies.fastdense.chooser import PolicyChooser
from search.strategies.sampling.tried import Tried

from ...spaces.toy_space import TOY
from ..helpers import DECODERS, TRAINING, problem, with_budget


def wanted(**changes: Any) -> SearchProblem:
    return problem(strategy="ppo", space=TOY, scoring=TRAINING, **changes)


def chooser(own: SearchProblem) -> PolicyChooser:
    return PolicyChooser(own, own.recipe)  # type: ignore[arg-type]


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def spent_s(own: SearchProblem, genotype: dict[str, str]) -> float:
    return float(own.costs.cost([genotype], ["latency"])["latency"][0])


def test_what_costs_more_than_the_budget_is_paid_less() -> None:
    own = with_budget(wanted(over_budget=0.5), 0.5)
    assert own.budget is not None
    networks = [TOY.sample(random(seed)) for seed in range(20)]
    costs = [spent_s(own, genotype) for genotype in networks]
    assert min(costs) < own.budget.value < max(costs)
    for genotype, cost in zip(networks, costs, strict=True):
        over = max(1.0, cost / own.budget.value)
        paid = chooser(own).paid(Tried(tuple(genotype.values()), 0.6))
        assert paid == pytest.approx(0.6 * over**-0.5)
    free = chooser(replace(own, budget=None))
    assert free.paid(Tried(tuple(networks[0].values()), 0.6)) == 0.6
    assert free.paid(Tried(tuple(networks[0].values()), None, failed="out of memory")) == 0


def test_draws_keep_the_budget_and_are_new_where_they_can() -> None:
    own = with_budget(wanted(draws=200), 0.4)
    assert own.budget is not None
    log: list[Tried] = []
    for number in range(4):
        genotype = chooser(own)(log, random(number))
        assert spent_s(own, genotype) <= own.budget.value
        log.append(Tried(tuple(genotype.values()), 0.5))
    assert len({tried.options for tried in log}) == 4


def test_one_draw_is_taken_as_it_is() -> None:
    own = with_budget(wanted(draws=1), 0.05)
    assert own.budget is not None
    costs = [spent_s(own, chooser(own)([], random(seed))) for seed in range(10)]
    assert max(costs) > own.budget.value


def test_where_no_draw_keeps_the_budget_the_cheapest_new_one_is_taken() -> None:
    own = with_budget(wanted(draws=20), 0.5)
    assert own.budget is not None
    own = replace(own, budget=replace(own.budget, value=1e-12))
    generator = torch.Generator().manual_seed(int(random(3).integers(1 << 62)))
    draws = [*islice(chooser(own)._drawn(generator), 20)]
    costs = {tuple(genotype.values()): spent_s(own, genotype) for genotype in draws}
    assert len(set(costs.values())) > 3
    cheapest, second = sorted(costs, key=lambda options: costs[options])[:2]
    assert tuple(chooser(own)([], random(3)).values()) == cheapest
    known = chooser(own)
    known.policy.count = 1  # it has learnt of the log's one network
    assert tuple(known([Tried(cheapest, 0.5)], random(3)).values()) == second


def test_what_the_space_has_not_is_not_drawn() -> None:
    """Cells of which nothing is left."""
    own = problem(strategy="ppo", space=DECODERS, scoring=TRAINING)
    choose = chooser(own)
    with torch.no_grad():  # nearly nothing but "none"
        places = choose.policy.controller.decisions[6].options.index("none")
        head = choose.policy.controller.head(6)
        head.bias[places] = 4.0
    genotype = choose([], random(0))
    assert DECODERS.check(genotype) == genotype


def test_it_learns_from_the_log_once_and_in_its_order() -> None:
    own = wanted()
    log = [Tried(tuple(TOY.sample(random(seed)).values()), seed / 4) for seed in range(4)]
    step, whole = chooser(own), chooser(own)
    for count in range(1, 5):
        expected = step(log[:count], random(9))
    assert whole(log[:2], random(9)) != {}
    assert whole.policy.count == 2
    later = chooser(own)
    later.restore(step.state())
    assert later(log, random(9)) == expected
    assert (step.policy.count, step.policy.baseline) == (4, later.policy.baseline)


def test_networks_of_a_round_have_the_probabilities_of_when_they_were_drawn() -> None:
    choose = chooser(wanted())
    genotypes = [choose([], random(seed)) for seed in range(2)]
    controller = choose.policy.controller
    with torch.no_grad():
        told = [float(controller.log_probability(controller.places(genotype))) for genotype in genotypes]
    choose([Tried(tuple(genotype.values()), 0.5) for genotype in genotypes], random(2))
    kept = [action["log_probability"] for action, _ in choose.state()["memory"]]
    assert kept == told
