"""When a careful timing stops and what it notes: rounds with scripted samples."""

import time
from collections.abc import Iterable, Iterator
from itertools import chain, cycle, repeat
from typing import Any

import pytest

from cost_models.errors import CostModelError
from cost_models.runner.rounds import Burst, Care, Rounds, take_rounds
from targets.spec import Measure

QUIET = (1.00, 1.01, 0.99)
NOISY = (1.0, 1.5, 2.0)
LONG = Care(budget_s=60.0, drift=0.05)
SHORT = Care(budget_s=1e-6, drift=0.05)


def script(bursts: Iterable[tuple[float, ...]], log: list[str], name: str = "kernel") -> Burst:
    """Gives one burst after the other."""
    left: Iterator[tuple[float, ...]] = iter(bursts)

    def burst() -> tuple[float, ...]:
        log.append(name)
        return next(left)

    return burst


def levels(*values: float) -> Iterable[tuple[float, ...]]:
    """Bursts of the reference; the last level stays."""
    return chain([(v, v, v) for v in values], repeat((values[-1],) * 3))


def test_quiet_rounds_are_two_with_the_reference_around_them() -> None:
    log: list[str] = []
    rounds = take_rounds(script(repeat(QUIET), log), script(levels(1.0), log, "reference"), LONG)
    assert log == ["reference", "kernel", "reference", "kernel", "reference"]
    assert rounds.samples_s == QUIET * 2
    assert rounds.levels_s == (1.0, 1.0, 1.0)
    assert rounds.notes(LONG) == []


def test_without_a_reference_the_interval_alone_decides() -> None:
    rounds = take_rounds(script(repeat(QUIET), []), None, LONG)
    assert rounds == Rounds((QUIET, QUIET))
    assert rounds.notes(LONG) == []


def test_noise_gets_more_rounds_until_the_interval_is_narrow() -> None:
    rounds = take_rounds(script(chain([NOISY], repeat(QUIET)), []), script(levels(1.0), []), LONG)
    assert 2 < len(rounds.bursts) < 10
    assert rounds.bursts[0] == NOISY  # kept all the same
    assert rounds.notes(LONG) == [f"outliers: 2 of {len(rounds.samples_s)}"]


def test_noise_without_end_is_over_with_the_budget() -> None:
    care = Care(budget_s=0.05)

    def slow() -> tuple[float, ...]:
        time.sleep(0.01)
        return NOISY

    rounds = take_rounds(slow, None, care)
    assert 2 <= len(rounds.bursts) <= 6
    (note,) = rounds.notes(care)
    assert note.startswith("interval wider than 5 %: ")


def test_two_rounds_are_made_whatever_they_cost() -> None:
    rounds = take_rounds(script(cycle([QUIET, NOISY]), []), script(levels(1.0), []), SHORT)
    assert len(rounds.bursts) == 2


def test_a_disturbed_round_is_made_up_for_and_told() -> None:
    rounds = take_rounds(script(repeat(QUIET), []), script(levels(1.0, 1.0, 1.3, 1.0), []), LONG)
    assert len(rounds.bursts) == 4
    assert rounds.notes(LONG) == ["disturbed rounds: 2 3 of 4"]


def test_a_reference_that_comes_down_shows_that_the_rounds_before_were_disturbed() -> None:
    rounds = take_rounds(script(repeat(QUIET), []), script(levels(2.0, 2.0, 1.0), []), LONG)
    assert rounds.levels_s == (2.0, 2.0, 1.0, 1.0, 1.0)
    assert rounds.notes(LONG) == ["disturbed rounds: 1 2 of 4"]


def test_drift_within_the_budget_is_noted() -> None:
    rounds = take_rounds(script(repeat(QUIET), []), script(levels(1.0, 1.5, 1.0), []), SHORT)
    assert rounds.notes(SHORT) == [
        "drift: the reference took up to 1.50 times its fastest",
        "disturbed rounds: 1 2 of 2",
    ]


def test_few_samples_are_not_taken_for_many() -> None:
    """Two equal samples have an interval of no width and no confidence."""
    rounds = take_rounds(script(repeat((1.0,)), []), None, SHORT)
    assert rounds.notes(SHORT) == ["few samples: 2"]
    assert len(take_rounds(script(repeat((1.0,)), []), None, LONG).samples_s) == 6


def test_care_as_a_target_file_says() -> None:
    measure = Measure(
        number=1, repeat=9, min_repeat_ms=5, cooldown_ms=0, drift=0.2, budget_s=3.0, timeout_s=9.0
    )
    assert Care.of(measure) == Care(interval_width=0.05, drift=0.2, budget_s=3.0, burst=5)


@pytest.mark.parametrize("wrong", [{"interval_width": 0.0}, {"drift": -1.0}, {"budget_s": 0.0}, {"burst": 0}])
def test_care_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        CostModelError, match=r"^Care: interval_width, drift and budget_s must be > 0, burst >= 1; "
    ):
        Care(**wrong)
