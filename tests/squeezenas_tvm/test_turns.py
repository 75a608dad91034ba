"""Bundles timed by turns: in which order, in which processes, and what is said of it."""

import sys
from pathlib import Path

import pytest

from squeezenas_tvm.comparing import turns
from squeezenas_tvm.comparing.turns import Pair, by_turns
from squeezenas_tvm.errors import FailedWork, UsageError


def test_bundles_run_here_in_processes_of_their_own(sealed_bundle: Path) -> None:
    found = by_turns([sealed_bundle, sealed_bundle], rounds=2, repeats=3, shown=False)
    assert [[len(own) for own in rounds] for rounds in found] == [[3, 3], [3, 3]]
    assert all(sample > 0 for rounds in found for own in rounds for sample in own)


def test_the_order_turns_round(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def turn(folder: Path, repeats: int) -> list[float]:
        order.append(folder.name)
        return [float(len(order))] * repeats

    monkeypatch.setattr(turns, "_turn", turn)
    found = by_turns([Path("a"), Path("b")], rounds=3, repeats=2, shown=False)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == [[[1, 1], [4, 4], [5, 5]], [[2, 2], [3, 3], [6, 6]]]


def test_what_is_no_bundle_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing"):
        by_turns([tmp_path / "nothing"], rounds=1, shown=False)


def test_one_that_crashes_says_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "child_python", lambda *_: [sys.executable, "-c", "raise ValueError('no')"])
    with pytest.raises(FailedWork, match=r"broken: it does not run here: ValueError: no"):
        by_turns([tmp_path / "broken"], rounds=1, shown=False)


def rounds_of(*medians_ms: float) -> list[list[float]]:
    return [[ms - 0.01, ms, ms + 0.01] for ms in medians_ms]


def test_a_machine_that_slows_down_does_not_decide() -> None:
    """Both are slower from round to round; in each the second takes three quarters of the first."""
    first = (4.0, 4.4, 4.8, 5.2, 5.6, 6.0, 8.0)
    pair = Pair(rounds_of(*first), rounds_of(*(0.75 * ms for ms in first)))
    assert pair.medians_ms == (5.2, pytest.approx(3.9))
    assert (pair.ratio, pair.told_apart) == (pytest.approx(0.75), True)
    assert pair.said("default", "tuned") == (
        "By turns, 7 rounds: default 5.2 ms, tuned 3.9 ms, 0.75 times as long (0.75 to 0.75)."
    )


def test_a_difference_inside_the_spread_is_said_to_be() -> None:
    second = (3.9, 4.1, 4.0, 3.8, 4.2, 4.0, 3.9)
    pair = Pair(rounds_of(*[4.0] * 7), rounds_of(*second))
    assert not pair.told_apart
    assert pair.interval == (pytest.approx(0.95), pytest.approx(1.05))
    assert pair.said("default", "tuned").endswith(
        "(0.95 to 1.05). The difference is inside the spread: here, one is as fast as the other."
    )
