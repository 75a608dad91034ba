"""The Pareto front, and the network to take."""

from search.problem.judged import Judged, choose, pareto_front


def _judged(name: str, score: float, latency_s: float) -> Judged:
    return Judged((name,), score, latency_s, 0.9 * latency_s, 1.1 * latency_s, 1e9, 1e5, 1e6, 1e6)


def test_the_front_holds_what_nothing_beats() -> None:
    cheap, good, best = _judged("cheap", 0.3, 1e-3), _judged("good", 0.5, 2e-3), _judged("best", 0.6, 4e-3)
    worse, dearer = _judged("worse", 0.4, 3e-3), _judged("dearer", 0.6, 5e-3)
    assert pareto_front([dearer, best, worse, good, cheap], "latency") == [cheap, good, best]


def test_the_most_accurate_within_the_limit_is_chosen() -> None:
    networks = [_judged("cheap", 0.3, 1e-3), _judged("good", 0.5, 2e-3), _judged("best", 0.6, 4e-3)]
    assert choose(networks, "latency", 3e-3, lambda n: n.score).options == ("good",)
    assert choose(networks, "latency", None, lambda n: n.score).options == ("best",)
    assert choose(networks, "latency", 0.5e-3, lambda n: n.score).options == ("cheap",)  # none is within it
