"""Judging goes on where it was interrupted."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from search.problem.judged import Judged
from search.problem.problem import judged_costs
from search.problem.strategy import Progress
from search.results.judging import judge
from search.results.record import read_record
from search.spaces.space import Genotype

from ..strategies.helpers import ALONE, FIVE, Log, problem

NETWORKS = [(name, *["skip"] * 4) for name in ("k3e1", "k3e3", "k3e6")]


class Scoring:
    """A strategy that gives one score more each time."""

    curves: tuple[str, ...] = ()
    step = steps_wanted = 0

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def steps(self) -> Iterator[Progress]:
        return iter(())

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        raise AssertionError("nothing is resumed")

    def propose(self, count: int, seed: int) -> list[Genotype]:
        return []

    def score(self, genotype: Genotype) -> float:
        self.asked.append(tuple(genotype.values()))
        return len(self.asked) / 10

    def summary(self) -> Mapping[str, Any]:
        return {}


def test_what_the_record_holds_is_not_judged_again(tmp_path: Path) -> None:
    wanted, strategy, record = problem(), Scoring(), tmp_path / "judged.jsonl"
    judge(wanted, strategy, NETWORKS[:2], record, ALONE, Log())
    with record.open("a") as file:
        file.write('{"options": ["k3e6"], "sco')  # killed while it wrote
    found = judge(wanted, strategy, NETWORKS, record, ALONE, log := Log())
    assert strategy.asked == NETWORKS
    assert [judged.score for judged in found] == [0.1, 0.2, 0.3]
    assert log.judgements == found
    assert dict(read_record(record)) == dict(zip(NETWORKS, (0.1, 0.2, 0.3), strict=True))


def test_a_judged_network_has_all_its_costs(tmp_path: Path) -> None:
    wanted = problem()
    (found,) = judge(wanted, Scoring(), NETWORKS[:1], tmp_path / "judged.jsonl", ALONE, Log())
    genotype = FIVE.from_short_form(NETWORKS[0])
    assert found == Judged(options=NETWORKS[0], score=0.1, **judged_costs(wanted.costs, genotype))
    assert found.low_s < found.latency_s < found.high_s
    assert found.cost("latency") == found.latency_s
    assert found.cost("macs") == found.macs > 0


def test_a_record_of_the_first_release_counts(tmp_path: Path) -> None:
    record, strategy = tmp_path / "judged.jsonl", Scoring()
    record.write_text('{"blocks": ["k3e1", "skip", "skip", "skip", "skip"], "miou": 0.7}\n')
    found = judge(problem(), strategy, NETWORKS[:2], record, ALONE, Log())
    assert [judged.score for judged in found] == pytest.approx([0.7, 0.1])
    assert strategy.asked == NETWORKS[1:2]
