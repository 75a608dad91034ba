"""How networks that are tried out are scored."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cost_models.ir.weights import random_weights
from search.architecture import dump_architecture, load_architecture
from search.errors import (
    FailedTraining,
    InvalidArchitecture,
    InvalidCheckpoint,
    InvalidSearch,
    InvalidWeights,
)
from search.networks.weights import save_weights
from search.strategies.making import make_strategy
from search.strategies.sampling.paths import PathScorer, fair_path
from search.strategies.sampling.scorers import make_scorer
from search.strategies.sampling.trained import TrainingScorer

from ...spaces.toy_space import TOY
from ..helpers import ALONE, FIVE, SMALL, TRAINING, drawn_data, problem


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


def test_what_a_network_learnt_before_is_remapped_into_each(tmp_path: Path) -> None:
    def scorer(**given: Any) -> TrainingScorer:
        wanted = problem(strategy="random", space=SMALL, scoring=TRAINING | given)
        found = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
        assert isinstance(found, TrainingScorer)
        return found

    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"{seed}.safetensors")
        save_weights(paths[-1], random_weights(load_architecture("squeezenas-mac-small").network(), seed))
    genotype = SMALL.from_short_form(["k3e1"] * len(SMALL.positions))
    begun = {
        name: found._begun(genotype).state_dict()
        for name, found in (("plain", scorer()), *((path.stem, scorer(init=str(path))) for path in paths))
    }
    kernel = next(name for name in begun["plain"] if name.startswith("blocks.0.") and name.endswith("weight"))
    assert len({float(tensors[kernel].sum()) for tensors in begun.values()}) == 3
    one, state = scorer(init=str(paths[0])), scorer(init=str(paths[1])).state()
    one.restore(scorer(init=str(paths[0])).state())
    with pytest.raises(InvalidCheckpoint, match=r"scored with other weights \(scoring.init\): give those"):
        one.restore(state)
    with pytest.raises(InvalidWeights, match=r"none\.pth"):
        scorer(init=str(tmp_path / "none.pth"))


def test_an_average_of_weights_is_what_is_scored() -> None:
    genotype = {"branch": "wide", "deep.kernel": "k3", "tail": "w8"}
    scores = []
    for average in (0.0, 0.999999):  # which stays at the random weights
        scoring = {"kind": "training", "epochs": 20, "average": average}
        wanted = problem(strategy="random", space=TOY, scoring=scoring)
        scorer = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
        scores.append(scorer.score(genotype, []).reward)
    assert scores[0] > scores[1]


@pytest.mark.parametrize("counts", [[4, 4, 4], [13, 1, 5]])
def test_fair_paths_train_each_candidate_once_a_round(counts: list[int]) -> None:
    length, rounds = max(counts), set()
    for round_ in range(3):
        steps = [fair_path(counts, 7, round_ * length + turn) for turn in range(length)]
        for place, count in enumerate(counts):
            weights = torch.cat([path[place] for path in steps])
            assert weights.shape == (length, count)
            assert torch.equal(weights.sum(1), torch.ones(length))
            times = weights.sum(0)
            assert times.max() - times.min() <= (length % count > 0)
        rounds.add(tuple(int(path[0].argmax()) for path in steps))
    assert len(rounds) == 3  # each in an order of its own
    one, again = (torch.cat(fair_path(counts, 7, 5), 1) for _ in range(2))
    assert torch.equal(one, again)


def test_a_supernet_learns_by_fair_paths() -> None:
    wanted = problem(strategy="random", scoring={"kind": "paths", "epochs": 5, "sampling": "fair"})
    scorer = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
    assert isinstance(scorer, PathScorer)
    chosen = []
    for _ in range(13):
        chosen.append([int(weight.argmax()) for weight in scorer._path()])
        scorer.prepare()
    assert all(sorted(column) == list(range(13)) for column in zip(*chosen, strict=True))


def teacher(folder: Path, seed: int, classes: int = 19) -> str:
    """The file of an architecture with random weights, for scenes."""
    own = load_architecture("squeezenas-lat-small").for_classes(drawn_data().classes[:classes])
    weights = folder / f"teacher-{seed}.safetensors"
    save_weights(weights, random_weights(own.network(), seed))
    path = folder / f"teacher-{seed}.yaml"
    path.write_text(dump_architecture(own.model_copy(update={"weights": str(weights)})))
    return str(path)


def test_paths_learn_from_a_teacher_as_well(tmp_path: Path) -> None:
    def scorer(**given: Any) -> PathScorer:
        torch.manual_seed(0)
        wanted = problem(strategy="random", scoring={"kind": "paths", "epochs": 2} | given)
        found = make_scorer(wanted, wanted.recipe, ALONE)  # type: ignore[arg-type]
        assert isinstance(found, PathScorer)
        return found

    name, other = teacher(tmp_path, 0), teacher(tmp_path, 1)
    plain = scorer().prepare()
    apart = {share: scorer(teacher=name, distillation=share).prepare() - plain for share in (1.0, 3.0)}
    assert apart[1.0] > 0.01
    assert apart[3.0] == pytest.approx(3 * apart[1.0], rel=1e-3)
    taught = scorer(teacher=name)
    taught.restore(scorer(teacher=name).state())
    with pytest.raises(InvalidCheckpoint, match=r"scored with other weights \(scoring.teacher\): give those"):
        taught.restore(scorer(teacher=other).state())
    with pytest.raises(InvalidArchitecture, match="tells other classes"):
        scorer(teacher=teacher(tmp_path, 2, classes=7))
