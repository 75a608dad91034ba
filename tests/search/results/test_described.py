"""What a search says of itself, before and after."""

from pathlib import Path

import pytest

from search.results.described import describe
from search.results.document import FILE, load
from search.run import run_search

from ..spaces.toy_space import TOY
from ..strategies.helpers import ALONE, TRAINING, Log, problem


def test_a_search_that_begins_says_what_it_is_asked_for(tmp_path: Path) -> None:
    wanted = problem(mix="latency:3,memory:1", budget="4ms")
    describe(wanted).save(tmp_path / FILE)
    told = load(tmp_path)
    assert not told.finished
    assert (told.target, told.space, told.resolution) == ("jetson-xavier", "five", "64x128")
    assert (told.strategy, told.task, told.metric) == ("gumbel", "segmentation", "mIoU")
    assert told.decisions == [f"blocks.{index}" for index in range(5)]
    assert (told.data, told.data_spec) == (wanted.data.name, "synthetic:6:64x64")
    assert told.mix == {"latency": 0.75, "memory": 0.25}
    assert told.budget is not None
    assert (told.cost, told.budget.objective, told.budget.value) == (
        "latency",
        "latency",
        pytest.approx(4e-3),
    )
    assert told.recipe["epochs"] == 2
    assert [tuple(row) for row in told.latency_s.positions] == wanted.costs.candidates
    table = wanted.costs.table("latency")
    assert list(told.latency_s.positions[2].values()) == pytest.approx(list(table[2]))
    assert told.latency_s.around == pytest.approx(wanted.costs.fixed("latency"))
    assert told.chosen is None
    assert told.choices == []


def test_a_space_that_is_no_chain_tells_the_options_of_its_slots(tmp_path: Path) -> None:
    describe(problem(strategy="random", space=TOY, scoring=TRAINING)).save(tmp_path / FILE)
    told = load(tmp_path)
    assert told.decisions == ["branch", "deep.kernel", "tail"]
    branch, tail = told.latency_s.positions
    assert list(branch) == ["wide", "deep.k3", "deep.k5"]
    assert list(tail) == ["w8", "w16", "w24"]


def test_a_search_writes_it_as_it_begins_and_again_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(problem(), tmp_path, ALONE, resume=False, watch=Log(1))
    begun = load(tmp_path)
    assert not begun.finished
    found = run_search(problem(), tmp_path, ALONE, resume=True, watch=Log())
    told = load(tmp_path)
    assert (told.finished, told.judged) == (True, len(found.networks))
    assert told.expected == found.summary["expected"]
    assert (told.chosen, told.front, told.choices) == (found.chosen, found.front, found.summary["choices"])
    assert told.recipe == begun.recipe
