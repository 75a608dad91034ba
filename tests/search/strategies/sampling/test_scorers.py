"""How networks that are tried out are scored."""

import math

import pytest
import torch

from search.errors import FailedTraining, InvalidSearch
from search.strategies.making import make_strategy
from search.strategies.sampling.scorers import PathScorer, TrainingScorer, make_scorer

from ...spaces.toy_space import TOY
from ..helpers import ALONE, FIVE, TRAINING, problem


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_paths_need_a_chain(strategy: str) -> None:
    with pytest.raises(InvalidSearch) as refused:
        make_strategy(problem(strategy=strategy, space=TOY), ALONE, None)
    assert str(refused.value) == (
        "scoring: kind paths needs a supernet of a chain, which space toy has not; allowed there: kind "
        "training, such as --recipe training"
    )


def test_so_does_gumbel() -> None:
    with pytest.raises(InvalidSearch) as refused:
        make_strategy(problem(space=TOY), ALONE, None)
    assert str(refused.value) == (
        "strategy gumbel needs a supernet of a chain, which space toy has not; allowed: random, evolution, "
        "with --recipe training"
    )


def test_a_step_of_preparation_changes_one_path() -> None:
    wanted = problem(strategy="random", scoring={"kind": "paths", "epochs": 2})
    scorer = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
    assert isinstance(scorer, PathScorer)
    assert (scorer.steps_per_epoch, scorer.steps_wanted) == (3, 6)
    before = {name: value.clone() for name, value in scorer.state()["supernet"].items()}
    loss = scorer.prepare()
    assert math.isfinite(loss)
    assert scorer.step == 1
    after = scorer.state()["supernet"]
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert any(name.startswith("decoder.") for name in moved)
    for position in range(5):
        names = {name.split(".")[2] for name in moved if name.startswith(f"blocks.{position}.")}
        assert len(names) <= 1, (position, names)
    assert not any(name.startswith("logits.") for name in moved)


def test_prepared_in_parts_is_prepared_as_a_whole() -> None:
    wanted = problem(strategy="random", scoring={"kind": "paths", "epochs": 2})

    def scorer() -> PathScorer:
        torch.manual_seed(0)
        found = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
        assert isinstance(found, PathScorer)
        return found

    whole = scorer()
    losses = [whole.prepare() for _ in range(6)]
    first, second = scorer(), scorer()
    found = [first.prepare() for _ in range(2)]
    second.restore(first.state())
    found += [second.prepare() for _ in range(4)]
    assert found == losses
    genotype = FIVE.from_short_form(["k3e1"] * 5)
    assert second.score(genotype, []) == whole.score(genotype, [])


def test_no_finite_loss_is_told_with_what_to_lower() -> None:
    scoring = {"kind": "paths", "epochs": 3, "learning_rate": 1e18}
    wanted = problem(strategy="random", scoring=scoring)
    scorer = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
    said = r"the loss is (nan|inf) in step \d+ at a learning rate of .*: lower scoring\.learning_rate$"
    with pytest.raises(FailedTraining, match=said):
        [scorer.prepare() for _ in range(9)]


def test_each_network_is_trained_for_itself() -> None:
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING)
    scorer = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
    assert isinstance(scorer, TrainingScorer)
    assert scorer.steps_wanted == 0
    one = {"branch": "wide", "deep.kernel": "k3", "tail": "w8"}
    scores = [scorer.score(own, []).reward for own in (one, {**one, "tail": "w24"}, one)]
    assert scores[0] == scores[2]  # whatever came between
    assert all(0 <= score <= 1 for score in scores)
    longer = problem(strategy="random", space=TOY, scoring={"kind": "training", "epochs": 20})
    best = make_scorer(longer, longer.recipe, ALONE).score(one, []).reward  # type: ignore[arg-type]
    assert best > scores[0]


def test_too_little_memory_is_told_with_what_to_lower() -> None:
    assert problem(strategy="evolution").recipe.out_of_memory == (
        "out of memory with 2 images of 64x64: lower batch_size or crop in the recipe"
    )
