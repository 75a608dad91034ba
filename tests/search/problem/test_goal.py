"""Objectives and budgets as the user writes them."""

import re

import pytest

from search.errors import InvalidSearch
from search.problem.goal import Budget, Mix


def test_one_objective_has_all_the_weight() -> None:
    assert Mix.parse("latency").weights == {"latency": 1.0}
    assert str(Mix.parse("latency")) == "latency"


def test_weights_of_a_mix_add_up_to_one() -> None:
    mix = Mix.parse("latency:3, memory:1")
    assert mix.weights == {"latency": 0.75, "memory": 0.25}
    assert str(mix) == "latency:0.75,memory:0.25"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latencies", "objective 'latencies', did you mean latency?; allowed: latency, macs, params"),
        ("energy", "objective 'energy'; allowed"),
        ("latency:0", "give each cost once, with a weight above 0"),
        ("latency:nan", "give each cost once, with a weight above 0"),
        ("macs,macs", "give each cost once"),
        ("", "objective ''"),
    ],
)
def test_bad_objectives_are_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidSearch, match=re.escape(said)):
        Mix.parse(text)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("30ms", "latency", 0.03),
        ("0.5 s", "latency", 0.5),
        ("2.5GMACs", "macs", 2.5e9),
        ("400mmacs", "macs", 4e8),
        ("0.3Mparams", "params", 3e5),
        ("64MiB", "memory", 64 * 2**20),
    ],
)
def test_the_unit_of_a_budget_says_what_it_limits(text: str, name: str, value: float) -> None:
    budget = Budget.parse(text)
    assert (budget.name, budget.value) == (name, pytest.approx(value))


@pytest.mark.parametrize("text", ["30", "ms", "-3ms", "0ms", "infms", "3 lightyears", "1e999ms"])
def test_bad_budgets_are_refused(text: str) -> None:
    with pytest.raises(
        InvalidSearch, match=r"write a number above 0 with a unit, such as 30ms; units: ms, s"
    ):
        Budget.parse(text)


def test_a_budget_below_the_cheapest_network_names_the_smallest_that_can_be_met() -> None:
    least = 4.32187e-3
    with pytest.raises(InvalidSearch) as refused:
        Budget.parse("1ms").check(least, 9e-3)
    assert "budget 1 ms: the cheapest network of the space takes 4.322 ms" in str(refused.value)
    smallest = str(refused.value).rsplit("can be met is ", 1)[1]
    Budget.parse(smallest).check(least, 9e-3)  # what it names is accepted


def test_a_refused_budget_says_what_the_costs_are_of() -> None:
    for budget in ("1ms", "10ms"):
        with pytest.raises(InvalidSearch, match=r"\(costs are at 64x128\)$"):
            Budget.parse(budget).check(4e-3, 9e-3, "costs are at 64x128")


def test_a_budget_above_the_dearest_network_is_refused() -> None:
    with pytest.raises(InvalidSearch, match=r"budget 10 ms: the dearest network of the space takes 9 ms"):
        Budget.parse("10ms").check(4e-3, 9e-3)
    Budget.parse("8.9ms").check(4e-3, 9e-3)
