"""What every strategy must keep, as tests to derive from: give ``stops`` and the fixture ``make``.

``make`` is a function that makes a problem for the strategy; its keywords change the recipe.
"""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.architecture import load_architecture
from search.errors import InvalidCheckpoint
from search.problem.problem import SearchProblem, SearchResult
from search.results.distribution import read_distribution
from search.results.document import load
from search.results.front import genotype_of
from search.run import run_search
from search.strategies.making import make_strategy

from .helpers import ALONE, Log, same, with_budget

Make = Callable[..., SearchProblem]
FILES = ("networks.csv", "chosen.yaml", "judged.jsonl", "curves.csv")
LEARNED = "choices.jsonl"  # of strategies that learn how probable options are


class StrategyContract:
    """Of whole searches, as short as can be, on six drawn scenes."""

    stops: tuple[int, ...]
    """Steps after which a search is stopped: within and at the ends of its parts."""
    within: tuple[Any, str] = (torch.nn.functional, "cross_entropy")
    """What steps call, as an attribute of something: there Ctrl-C comes."""

    def test_stopped_and_resumed_equals_uninterrupted(self, make: Make, tmp_path: Path) -> None:
        wanted = with_budget(make(), 0.6)
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        expected = run_search(wanted, whole, ALONE, resume=False, watch=(first := Log()))
        told, done = [], 0
        for stop in self.stops:
            log = Log(stop - done)
            with pytest.raises(KeyboardInterrupt):
                run_search(wanted, parts, ALONE, resume=done > 0, watch=log)
            assert not load(parts).finished
            told, done = told + log.steps, stop
        log = Log(stop_judging=2)
        with pytest.raises(KeyboardInterrupt):
            run_search(wanted, parts, ALONE, resume=done > 0, watch=log)
        told += log.steps
        found = run_search(wanted, parts, ALONE, resume=True, watch=(last := Log()))
        assert last.steps == []
        assert same([_plain(now) for now in told], [_plain(now) for now in first.steps])
        assert found == expected
        for name in (*FILES, *([LEARNED] if (whole / LEARNED).exists() else ())):
            assert (parts / name).read_text() == (whole / name).read_text(), name

    def test_ctrl_c_within_a_step_loses_nothing_of_it(
        self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A real one, in the second step."""
        wanted = make()
        run_search(wanted, tmp_path / "whole", ALONE, resume=False, watch=(whole := Log()))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        compute, parts = getattr(*self.within), tmp_path / "parts"
        left = iter((False, True))

        def interrupted(*given: Any, **options: Any) -> Any:
            if next(left, False):
                signal.raise_signal(signal.SIGINT)
            return compute(*given, **options)

        monkeypatch.setattr(*self.within, interrupted)
        try:
            with pytest.raises(KeyboardInterrupt):
                run_search(wanted, parts, ALONE, resume=False, watch=(log := Log()))
        finally:
            signal.signal(signal.SIGINT, before)
        run_search(wanted, parts, ALONE, resume=True, watch=(rest := Log()))
        assert [now.step for now in (*log.steps, *rest.steps)] == [now.step for now in whole.steps]
        for name in FILES:
            assert (parts / name).read_text() == (tmp_path / "whole" / name).read_text(), name

    def test_steps_are_counted_to_the_end(self, make: Make, tmp_path: Path) -> None:
        strategy = make_strategy(make(), ALONE, None)
        assert strategy.step == 0
        seen, epochs = [], 0
        for now in strategy.steps():
            seen.append(now.step)
            assert now.step == strategy.step
            assert now.epoch == epochs
            epochs += now.ends_epoch
            assert tuple(now.values) == tuple(strategy.curves)
            assert "\n" not in now.said
        assert seen == list(range(1, strategy.steps_wanted + 1))

    def test_the_same_seed_finds_the_same_and_another_one_others(self, make: Make, tmp_path: Path) -> None:
        found = [
            run_search(make(seed=seed), tmp_path / str(number), ALONE, resume=False, watch=Log())
            for number, seed in enumerate((3, 3, 4))
        ]
        assert found[0] == found[1]
        assert [n.options for n in found[0].networks] != [n.options for n in found[2].networks]

    def test_networks_are_valid_and_differ(self, make: Make) -> None:
        wanted = make()
        strategy = make_strategy(wanted, ALONE, None)
        for _ in strategy.steps():
            pass
        proposed = strategy.propose(3, seed=0)
        assert len(proposed) == 3
        for genotype in proposed:
            assert list(wanted.space.check(genotype).items()) == list(genotype.items())
        assert len({tuple(genotype.values()) for genotype in proposed}) == 3
        assert strategy.propose(3, seed=0) == proposed
        assert strategy.propose(1, seed=0) == proposed[:1]
        score = strategy.score(proposed[0])
        assert 0 <= score <= 1
        assert strategy.score(proposed[0]) == score

    @pytest.mark.parametrize("share", [0.3, 0.6])
    def test_the_chosen_network_keeps_the_budget(self, make: Make, share: float, tmp_path: Path) -> None:
        wanted = with_budget(make(), share)
        assert wanted.budget is not None
        found = run_search(wanted, tmp_path, ALONE, resume=False, watch=Log())
        self.check_budget(wanted, found)
        assert found.chosen.score == max(
            n.score for n in found.networks if n.latency_s <= wanted.budget.value
        )

    def check_budget(self, wanted: SearchProblem, found: SearchResult) -> None:
        """The chosen network's cost, asked for anew."""
        assert wanted.budget is not None
        genotype = genotype_of(wanted, found.chosen)
        (spent,) = wanted.costs.cost([genotype], [wanted.budget.name])[wanted.budget.name]
        assert found.chosen.cost(wanted.budget.name) == spent <= wanted.budget.value

    def test_a_search_ends_with_all_its_files(self, make: Make, tmp_path: Path) -> None:
        wanted = make()
        found = run_search(wanted, tmp_path, ALONE, resume=False, watch=(log := Log()))
        assert log.judgements == found.networks
        told = load(tmp_path)
        assert (told.finished, told.judged) == (True, len(found.networks))
        assert (told.strategy, told.space) == (wanted.strategy, wanted.space.name)
        assert (told.chosen, told.front) == (found.chosen, found.front)
        assert set(found.summary) <= set(type(told).model_fields)
        learned = read_distribution(tmp_path / LEARNED)
        if told.choices:  # of a distribution the way is told, too, and its end is that of the search
            assert [own.epoch for own in learned] == list(range(log.steps[-1].epoch + 1))
            for own, last in zip(learned[-1].choices, told.choices, strict=True):
                assert own == pytest.approx(last, abs=1e-5)
        else:
            assert learned == []
        plain = told.model_dump(mode="json")
        assert same({name: plain[name] for name in found.summary}, dict(found.summary))
        chosen = load_architecture(tmp_path / "chosen.yaml")
        assert chosen.genotype == genotype_of(wanted, found.chosen)
        assert chosen.labels == wanted.data.classes
        assert wanted.strategy in (chosen.origin or "")
        for name in (*FILES, "front.png", "last.ckpt"):
            assert (tmp_path / name).stat().st_size > 0, name

    def test_another_strategy_is_not_resumed(self, make: Make, tmp_path: Path) -> None:
        wanted = make()
        with pytest.raises(KeyboardInterrupt):
            run_search(wanted, tmp_path, ALONE, resume=False, watch=Log(1))
        with pytest.raises(InvalidCheckpoint, match=r"recipe\.seed was 0, is 9"):
            run_search(make(seed=9), tmp_path, ALONE, resume=True, watch=Log())
        other = "random" if wanted.strategy == "evolution" else "evolution"
        with pytest.raises(InvalidCheckpoint, match=f"strategy was '{wanted.strategy}', is '{other}'"):
            run_search(replace(wanted, strategy=other), tmp_path, ALONE, resume=True, watch=Log())


def _plain(now: Any) -> dict[str, Any]:
    return {
        name: getattr(now, name) for name in ("epoch", "step", "ends_epoch", "values", "expected", "said")
    }
