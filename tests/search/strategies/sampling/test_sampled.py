"""Which networks random search and evolution try, by scores that are made up."""

import json
import threading
from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from search.errors import Diverged, InvalidCheckpoint
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.results.document import load
from search.run import run_search
from search.spaces.space import Genotype
from search.strategies.sampling.choosers import EvolutionChooser, RandomChooser
from search.strategies.sampling.sampled import Finals, SampledSearch
from search.strategies.sampling.tried import Tried, best_of
from search.training.checkpoint import load_checkpoint, save_checkpoint

from ...spaces.toy_space import TOY
from ..helpers import ALONE, TRAINING, Log, problem, with_budget


class Remembering:
    """A scorer that prefers blocks of large expansion; needs no preparation."""

    step = steps_wanted = 0
    steps_per_epoch = 1
    alone, about = False, ""

    def prepare(self) -> float:
        raise AssertionError("no step is wanted")

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        large = sum("e6" in option for option in genotype.values())
        return Tried(tuple(genotype.values()), large / len(genotype))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


def evolving(**changes: Any) -> SearchProblem:
    usual: dict[str, Any] = {"population": 6, "sample": 3, "candidates": 40}
    return problem(strategy="evolution", **(usual | changes))


def searched(wanted: SearchProblem, choose: Any = None) -> list[Tried]:
    choose = choose or EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    search = SampledSearch(wanted, Remembering(), choose, ALONE, candidates=wanted.recipe.networks, seed=0)
    for _ in search.steps():
        pass
    return search.log


def differences(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def costs_s(wanted: SearchProblem, log: Sequence[Tried]) -> np.ndarray:
    names = [decision.name for decision in wanted.space.decisions]
    genotypes = [dict(zip(names, tried.options, strict=True)) for tried in log]
    return wanted.costs.cost(genotypes, ["latency"])["latency"]


@pytest.mark.parametrize("mutations", [1, 2])
def test_a_child_differs_from_one_of_the_last_by_the_mutations(mutations: int) -> None:
    log = searched(evolving(mutations=mutations))
    assert len(log) == 40
    for index in range(6, 40):
        population = log[index - 6 : index]  # the oldest are dead
        distances = [differences(tried.options, log[index].options) for tried in population]
        assert mutations in distances


def test_the_parent_is_the_best_of_a_sample_and_the_oldest_is_not_asked() -> None:
    """With a sample as large as the population: of the best of the last ones, always."""
    wanted = evolving(population=4, sample=4, candidates=5)
    choose = EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    options = [tuple(wanted.space.sample(random).values()) for _ in range(5)]
    log = [Tried(own, score) for own, score in zip(options, (0.9, 0.2, 0.5, 0.3, 0.1), strict=True)]
    for seed in range(20):
        child = tuple(choose(log, np.random.default_rng(seed)).values())
        assert differences(child, options[2]) == 1  # not of the first, whose score is the best of all
        child = tuple(choose(log[:4], np.random.default_rng(seed)).values())
        assert differences(child, options[0]) == 1


def test_a_small_sample_has_other_parents_too() -> None:
    wanted = evolving(population=4, sample=1)
    choose = EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    options = [tuple(wanted.space.sample(random).values()) for _ in range(4)]
    log = [Tried(own, score) for own, score in zip(options, (0.9, 0.2, 0.5, 0.3), strict=True)]
    parents = set()
    for seed in range(40):
        child = tuple(choose(log, np.random.default_rng(seed)).values())
        parents |= {index for index, own in enumerate(options) if differences(child, own) == 1}
    assert parents == {0, 1, 2, 3}


def test_evolution_finds_better_networks_than_chance() -> None:
    wanted = evolving(candidates=60)
    evolved = [tried.score for tried in searched(wanted)[-10:]]
    drawn = [tried.score for tried in searched(wanted, RandomChooser(wanted))]
    assert np.mean(evolved) > np.mean(drawn) + 0.2
    assert max(evolved) >= max(drawn)


def test_guesses_find_better_networks_than_children_at_random() -> None:
    plain, guessing = (searched(evolving(candidates=50, guesses=count)) for count in (1, 16))
    assert guessing[:6] == plain[:6]  # until the population is there
    assert np.mean([tried.reward for tried in guessing[6:]]) > np.mean([t.reward for t in plain[6:]]) + 0.1
    assert len({tried.options for tried in guessing}) == 50


def test_guesses_follow_from_the_seed_and_the_log_and_keep_the_budget() -> None:
    wanted = with_budget(evolving(candidates=20, guesses=8), 0.3)
    whole = searched(wanted)
    choose = EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    assert tuple(choose(whole[:12], np.random.default_rng([0, 12])).values()) == whole[12].options
    assert wanted.budget is not None
    assert costs_s(wanted, whole).max() <= wanted.budget.value


def test_the_first_networks_are_the_donor_and_such_as_are_near_it() -> None:
    wanted = evolving(population=20, candidates=30)
    donor = {decision.name: decision.options[-2] for decision in wanted.space.decisions}
    log = searched(wanted, EvolutionChooser(wanted, wanted.recipe, donor))  # type: ignore[arg-type]
    assert log[0].options == tuple(donor.values())
    distances = [differences(tried.options, log[0].options) for tried in log[:20]]
    assert set(distances) == {0, 1, 2, 3, 4}
    assert distances.count(0) == 1
    assert len({tried.options for tried in log}) == 30


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_donor_above_the_budget_is_made_cheaper(share: float) -> None:
    wanted = with_budget(evolving(population=20, candidates=20), share)
    heavy = max(
        (wanted.space.sample(np.random.default_rng(seed)) for seed in range(50)),
        key=lambda genotype: wanted.costs.cost([genotype], ["latency"])["latency"][0],
    )
    log = searched(wanted, EvolutionChooser(wanted, wanted.recipe, heavy))  # type: ignore[arg-type]
    assert wanted.budget is not None
    assert costs_s(wanted, log).max() <= wanted.budget.value
    assert len({tried.options for tried in log}) == 20


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_every_network_that_is_tried_keeps_the_budget(strategy: str, share: float) -> None:
    wanted = with_budget(evolving(), share)
    log = searched(wanted, RandomChooser(wanted) if strategy == "random" else None)
    assert wanted.budget is not None
    assert costs_s(wanted, log).max() <= wanted.budget.value
    assert len({tried.options for tried in log}) == 40


def test_nothing_is_tried_twice_while_there_is_something_else() -> None:
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING, candidates=8)
    log = searched(wanted, RandomChooser(wanted))
    assert len({tried.options for tried in log}) == 8  # of 12
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING, candidates=30)
    log = searched(wanted, RandomChooser(wanted))
    assert len(log) == 30
    assert len({tried.options for tried in log}) == 12


def test_what_is_tried_next_follows_from_the_seed_and_the_log() -> None:
    wanted = evolving()
    whole = searched(wanted)
    choose = EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    search = SampledSearch(wanted, Remembering(), choose, ALONE, candidates=40, seed=0)
    search.restore({"scorer": {}, "log": [[list(tried.options), tried.score] for tried in whole[:17]]})
    assert search.step == 17
    steps = [now.step for now in search.steps()]
    assert steps == list(range(18, 41))
    assert search.log == whole
    assert search.state()["log"][3] == whole[3].plain()


def test_the_best_are_proposed_first_each_once() -> None:
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING, candidates=30)
    search = SampledSearch(wanted, Remembering(), RandomChooser(wanted), ALONE, candidates=30, seed=0)
    log = [Tried(("wide", "k3", width), score) for width, score in (("w8", 0.1), ("w16", 0.7), ("w24", 0.3))]
    search.log = [*log, log[1]]
    assert [genotype["tail"] for genotype in search.propose(10, 0)] == ["w16", "w24", "w8"]
    assert len(search.propose(2, 0)) == 2
    assert search.score({"branch": "wide", "deep.kernel": "k3", "tail": "w24"}) == 0.3  # of the log
    assert search.summary()["tried"][0] == log[0].plain()


def test_progress_tells_the_best_so_far() -> None:
    wanted = evolving(candidates=10)
    choose = EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    search = SampledSearch(wanted, Remembering(), choose, ALONE, candidates=10, seed=0)
    told = list(search.steps())
    best = [now.values["best"] for now in told]
    assert all(earlier <= later for earlier, later in pairwise(best))
    assert best[-1] == max(now.values["score"] for now in told)
    assert [now.values["tried"] for now in told] == list(range(1, 11))
    assert all(now.ends_epoch for now in told)
    leader = max(search.log, key=lambda tried: tried.score)
    assert told[-1].expected["latency"] == pytest.approx(float(costs_s(wanted, [leader])[0]))


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_more_networks_are_tried_as_if_they_had_been_wanted_at_first(strategy: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seven, five = problem(strategy=strategy, candidates=7), problem(strategy=strategy, candidates=5)
    expected = run_search(seven, whole, ALONE, resume=False, watch=Log())
    run_search(five, parts, ALONE, resume=False, watch=Log())
    assert run_search(seven, parts, ALONE, resume=True, watch=Log()) == expected
    assert (parts / "curves.csv").read_text() == (whole / "curves.csv").read_text()
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.candidates was 7, is 5"):
        run_search(five, parts, ALONE, resume=True, watch=Log())


class Alone(Remembering):
    """Each process scores networks by itself; keeps which."""

    alone = True

    def __init__(self) -> None:
        self.scored: list[tuple[str, ...]] = []
        self.seen: list[int] = []

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        self.scored.append(tuple(genotype.values()))
        self.seen.append(len(log))
        return super().score(genotype, log)


class Together(Ranks):
    """Threads that exchange what they say as processes do."""

    said: ClassVar[dict[int, Any]] = {}
    both: ClassVar[threading.Barrier] = threading.Barrier(2)

    def gather(self, told: Any) -> list[Any]:
        self.said[self.rank] = told
        self.both.wait(60)
        found = [self.said[rank] for rank in range(self.world_size)]
        self.both.wait(60)
        return found


def both(
    wanted: SearchProblem,
    choose: Any,
    scorers: Sequence[Alone],
    log: Sequence[Tried] = (),
    finals: Finals | None = None,
) -> Any:
    """Two processes that search on from a log, to the end."""
    count = wanted.recipe.networks
    ranks = (Together(rank, 2, torch.device("cpu")) for rank in range(2))
    searches = [
        SampledSearch(wanted, own, choose, rank, candidates=count, seed=0, finals=finals)
        for own, rank in zip(scorers, ranks, strict=True)
    ]
    for search in searches:
        search.log = [*log]
    threads = [threading.Thread(target=list, args=(search.steps(),)) for search in searches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert searches[0].log == searches[1].log
    return searches


def test_processes_score_a_network_each_and_the_log_is_in_order() -> None:
    """Of five networks: rounds of two, two and one, each chosen by what was known before it."""
    wanted = evolving(candidates=5)
    scorers = [Alone(), Alone()]
    searches = both(wanted, RandomChooser(wanted), scorers)
    assert [tried.options for tried in searches[0].log] == [
        options for pair in zip_longest(*(own.scored for own in scorers)) for options in pair if options
    ]
    assert [own.seen for own in scorers] == [[0, 2, 4], [0, 2]]
    alone = SampledSearch(wanted, Alone(), RandomChooser(wanted), ALONE, candidates=5, seed=0)
    with pytest.raises(InvalidCheckpoint, match="begun with 2 processes, each scoring its own"):
        alone.restore(searches[0].state())


def test_processes_never_guess_the_same_child() -> None:
    """With so many guesses both hold the same for the best."""
    wanted = evolving(sample=6, candidates=16, guesses=64)
    choose = EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    tried = searched(evolving(sample=6, candidates=10))
    first, second = (choose(tried, np.random.default_rng([0, number])) for number in (10, 11))
    assert first == second  # as long as neither knows of the other
    log = both(wanted, choose, [Alone(), Alone()], tried)[0].log
    assert log[10].options == tuple(first.values())
    assert len({tried.options for tried in log}) == len(log) == 16


def test_a_round_that_was_stopped_within_goes_on_with_other_networks_than_its_first() -> None:
    wanted = evolving(candidates=12, guesses=8)
    choose = EvolutionChooser(wanted, wanted.recipe)  # type: ignore[arg-type]
    whole = both(wanted, choose, [Alone(), Alone()])[0].log
    assert both(wanted, choose, [Alone(), Alone()], whole[:9])[0].log == whole


def test_equal_networks_of_a_round_are_scored_once() -> None:
    """Where the space has no other: the first process scores it for both."""

    class Counting(Alone):
        def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
            tried = super().score(genotype, log)
            return Tried(tried.options, float(len(self.scored)))  # scores of processes differ

    wanted = problem(strategy="random", space=TOY, scoring=TRAINING, candidates=2)

    class Stubborn(RandomChooser):
        def __call__(self, log: Any, random: Any, beside: Any = ()) -> dict[str, str]:
            return wanted.space.sample(np.random.default_rng(0))

    scorers = [Counting(), Counting()]
    log = both(wanted, Stubborn(wanted), scorers)[0].log
    assert [len(own.scored) for own in scorers] == [1, 0]
    assert log[0] == log[1]


class Otherwise(Alone):
    """A scorer that prefers blocks of expansion 3, or finds nothing out."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self._fails = fails

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        super().score(genotype, log)
        if self._fails:
            raise Diverged("the loss is nan")
        options = tuple(genotype.values())
        return Tried(options, sum("e3" in option for option in options) / len(options))


def with_finals(wanted: SearchProblem, scorer: Otherwise, networks: int = 3) -> SampledSearch:
    finals, choose = Finals(networks, lambda: scorer), RandomChooser(wanted)
    count = wanted.recipe.networks
    return SampledSearch(wanted, Alone(), choose, ALONE, candidates=count, seed=0, finals=finals)


def test_the_best_are_scored_once_more_and_these_scores_count() -> None:
    wanted, scorer = evolving(candidates=8), Otherwise()
    search = with_finals(wanted, scorer)
    assert search.steps_wanted == 11
    said = [now.said for now in search.steps()]
    first, finals = search.log[:8], search.log[8:]
    assert [tried.final for tried in search.log] == [False] * 8 + [True] * 3
    assert scorer.scored == [tried.options for tried in best_of(first)[:3]]
    assert scorer.scored == [tried.options for tried in finals]
    assert [tuple(own.values()) for own in search.propose(3, 0)] == [own.options for own in best_of(finals)]
    for tried in finals:
        genotype = dict(zip((d.name for d in wanted.space.decisions), tried.options, strict=True))
        assert search.score(genotype) == tried.score
    assert said[7].startswith("network 8 of 8: ")
    assert said[10].startswith("finalist 3 of 3: ")


def test_where_all_finalists_fail_the_first_scores_count() -> None:
    search = with_finals(evolving(candidates=6), Otherwise(fails=True), networks=2)
    list(search.steps())
    assert [tried.failed for tried in search.log[6:]] == ["the loss is nan"] * 2
    assert tuple(search.propose(1, 0)[0].values()) == best_of(search.log)[0].options


def test_finals_that_were_stopped_go_on() -> None:
    wanted = evolving(candidates=6)
    whole = with_finals(wanted, Otherwise())
    list(whole.steps())
    for done in (5, 6, 7, 9):
        parts = with_finals(wanted, Otherwise())
        parts.restore({"scorer": {}, "log": [tried.plain() for tried in whole.log[:done]]} | {"at_once": 1})
        assert parts.steps_wanted == 9
        list(parts.steps())
        assert parts.log == whole.log


def test_no_more_finalists_than_networks_with_a_score() -> None:
    wanted = problem(strategy="random", space=TOY, scoring=TRAINING, candidates=20)
    search = with_finals(wanted, Otherwise(), networks=40)
    list(search.steps())
    assert len(search.log) == search.steps_wanted == 20 + 12  # so many networks are there


def test_processes_score_a_finalist_each() -> None:
    wanted = evolving(candidates=5)
    finals = Finals(3, Otherwise)
    log = both(wanted, RandomChooser(wanted), [Alone(), Alone()], finals=finals)[0].log
    alone = with_finals(wanted, Otherwise())
    alone.log = log[:5]
    list(alone.steps())
    assert alone.log == log
    assert both(wanted, RandomChooser(wanted), [Alone(), Alone()], log[:6], finals)[0].log == log


def test_finals_may_be_wanted_later_and_then_no_more_networks(tmp_path: Path) -> None:
    more = {"kind": "training", "epochs": 1, "finalists": 2, "final_epochs": 2}
    five = problem(strategy="random", space=TOY, scoring=TRAINING, candidates=5)
    finals = problem(strategy="random", space=TOY, scoring=more, candidates=5, name="more", summary="finals")
    run_search(five, tmp_path, ALONE, resume=False, watch=Log())
    result = run_search(finals, tmp_path, ALONE, resume=True, watch=Log())
    lines = [json.loads(line) for line in (tmp_path / "tried.jsonl").read_text().splitlines()]
    assert [line.get("final", False) for line in lines] == [False] * 5 + [True] * 2
    assert [tried.final for tried in load(tmp_path).tried] == [False] * 5 + [True] * 2
    assert {network.options for network in result.networks} == {tuple(line["options"]) for line in lines[5:]}
    assert result.chosen.score == max(line["score"] for line in lines[5:])
    again = problem(strategy="random", space=TOY, scoring=more, candidates=9)
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.candidates was 5, is 9"):
        run_search(again, tmp_path, ALONE, resume=True, watch=Log())


def test_a_search_of_0_2_0_knows_neither_donors_nor_finals_and_goes_on(tmp_path: Path) -> None:
    wanted = problem(strategy="evolution", space=TOY, scoring=TRAINING, candidates=3, population=2, sample=1)
    run_search(wanted, tmp_path, ALONE, resume=False, watch=Log())
    state = load_checkpoint(tmp_path / "last.ckpt", wanted.fingerprint())
    recipe = state["fingerprint"]["recipe"]
    del recipe["begin"], recipe["scoring"]["finalists"], recipe["scoring"]["final_epochs"]
    save_checkpoint(tmp_path / "last.ckpt", state)
    assert len(run_search(wanted, tmp_path, ALONE, resume=True, watch=Log()).networks) > 0
    state["fingerprint"]["recipe"]["begin"] = "donor"
    save_checkpoint(tmp_path / "last.ckpt", state)
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.begin was 'donor', is 'random'"):
        run_search(wanted, tmp_path, ALONE, resume=True, watch=Log())
