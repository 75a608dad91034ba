"""Drawing, judging, and the Pareto front, on networks that need no training."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from search.architecture import Architecture, load_architecture
from search.parallel.ranks import Ranks
from search.problem.goal import Budget
from search.results.front import (
    Judged,
    choose,
    draw_networks,
    judge,
    pareto_front,
    read_record,
    write_front,
)

ALONE = Ranks(0, 1, torch.device("cpu"))
CANDIDATES = [["a", "b", "c"], ["x", "y"]]


def _judged(name: str, miou: float, latency_s: float) -> Judged:
    return Judged((name,), miou, latency_s, 0.9 * latency_s, 1.1 * latency_s, 1e9, 1e5, 1e6, 1e6)


def test_drawn_networks_are_different_and_the_likeliest_is_among_them() -> None:
    networks = draw_networks([[0.2, 0.7, 0.1], [0.4, 0.6]], CANDIDATES, 4, seed=0)
    assert networks[0] == ("b", "y")
    assert len(networks) == len(set(networks)) == 4
    assert networks == draw_networks([[0.2, 0.7, 0.1], [0.4, 0.6]], CANDIDATES, 4, seed=0)


def test_a_settled_distribution_has_fewer_networks_than_wanted() -> None:
    assert draw_networks([[1.0, 0.0, 0.0], [0.5, 0.5]], CANDIDATES, 200, seed=1) in (
        [("a", "x"), ("a", "y")],
        [("a", "y"), ("a", "x")],
    )


def test_draws_follow_the_probabilities() -> None:
    counts = {"a": 0, "b": 0, "c": 0}
    for seed in range(400):
        _, other = draw_networks([[0.1, 0.6, 0.3], [1.0, 0.0]], CANDIDATES, 2, seed=seed)
        counts[other[0]] += 1
    assert counts["b"] == 0  # the likeliest is always there, as the first
    assert counts["c"] / counts["a"] == pytest.approx(3.0, rel=0.35)


def test_the_front_holds_what_nothing_beats() -> None:
    cheap, good, best = _judged("cheap", 0.3, 1e-3), _judged("good", 0.5, 2e-3), _judged("best", 0.6, 4e-3)
    worse, dearer = _judged("worse", 0.4, 3e-3), _judged("dearer", 0.6, 5e-3)
    assert pareto_front([dearer, best, worse, good, cheap], "latency") == [cheap, good, best]


def test_the_most_accurate_within_the_limit_is_chosen() -> None:
    networks = [_judged("cheap", 0.3, 1e-3), _judged("good", 0.5, 2e-3), _judged("best", 0.6, 4e-3)]
    assert choose(networks, "latency", 3e-3).blocks == ("good",)
    assert choose(networks, "latency", None).blocks == ("best",)
    assert choose(networks, "latency", 0.5e-3).blocks == ("cheap",)  # none is within it


def test_judging_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def accuracy(blocks: tuple[str, ...]) -> float:
        asked.append(blocks)
        return len(asked) / 10

    def costs(blocks: tuple[str, ...]) -> dict[str, float]:
        names = ("latency_s", "low_s", "high_s", "macs", "params", "memory", "bytes")
        return dict.fromkeys(names, 1.0)

    record, noted = tmp_path / "judged.jsonl", []
    networks = [("a",), ("b",), ("c",)]
    judge(networks[:2], accuracy, costs, record, ALONE, note=lambda judged, count: None)
    with record.open("a") as file:
        file.write('{"blocks": ["c"], "mio')  # killed while it wrote
    found = judge(networks, accuracy, costs, record, ALONE, note=lambda judged, count: noted.append(count))
    assert asked == networks
    assert [judged.miou for judged in found] == [0.1, 0.2, 0.3]
    assert noted == [1, 2, 3]
    assert dict(read_record(record)) == {("a",): 0.1, ("b",): 0.2, ("c",): 0.3}


def test_the_front_is_written_as_csv_picture_and_architectures(tmp_path: Path) -> None:
    small = load_architecture("squeezenas-lat-small")
    other = load_architecture("squeezenas-mac-small")
    networks = [
        Judged(tuple(a.blocks), miou, s, s, s, 1e9, 1e5, 1e6, 1e6)
        for a, miou, s in ((small, 0.5, 3e-3), (other, 0.4, 4e-3))
    ]

    def architecture(network: Judged, name: str) -> Architecture:
        return small.model_copy(update={"name": name, "blocks": list(network.blocks)})

    (tmp_path / "front").mkdir()
    (tmp_path / "front" / "07.yaml").write_text("of an older front")
    front = pareto_front(networks, "latency")
    budget = Budget.parse("3.5ms")
    paths = write_front(tmp_path, networks, front, front[0], architecture, cost="latency", budget=budget)
    assert [path.name for path in paths] == ["00.yaml"]
    assert list((tmp_path / "front").iterdir()) == paths
    assert load_architecture(paths[0]).blocks == small.blocks
    lines = (tmp_path / "networks.csv").read_text().splitlines()
    assert lines[0].startswith("miou_percent,latency_ms,low_ms,high_ms,gmacs")
    assert lines[1].startswith("50,3,3,3,1,0.1,")
    assert lines[1].endswith(f",1,1,{' '.join(small.blocks)}")
    assert lines[2].endswith(f",0,0,{' '.join(other.blocks)}")
    assert Image.open(tmp_path / "front.png").size[0] > 500
