import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from cost_models.database.environment import told_by
from cost_models.database.history import History
from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore

from ..some_kernels import relu
from ..storing import BOARD

KERNEL, OTHER = relu(8, 8, 8), relu(8, 8, 16)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        for kernel in (KERNEL, OTHER):
            store.add_kernel(kernel.key, kernel.description)
        yield History(store, store.add_environment(BOARD))


def try_(history: History, *samples_s: float, schedule: str = "[]") -> int:
    """Store a trial; one without samples has failed."""
    error = None if samples_s else "it broke"
    trial = Trial(schedule=schedule, samples_s=samples_s, error=error)
    return history.store.add_trial(history.environment, KERNEL.key, trial)


def time_(history: History, *samples_s: float, trial: int | None = None, notes: tuple[str, ...] = ()) -> None:
    """Store a careful timing; one without samples has failed."""
    how, error = "default" if trial is None else "tuned", None if samples_s else "it broke"
    found = Measurement(kernel=KERNEL.key, how=how, samples_s=samples_s, error=error, notes=notes)
    history.store.add_measurement(history.environment, found, trial=trial)


def test_nothing_is_known_at_first(history: History) -> None:
    assert history.trials(KERNEL) == history.best(KERNEL, 3) == history.timings(KERNEL) == {}
    assert history.fastest(KERNEL) == (None, None)
    assert history.tried(KERNEL) == 0
    assert history.default_s(KERNEL) == history.fastest_s(KERNEL) == math.inf


def test_the_best_trials_come_first_and_failed_ones_never(history: History) -> None:
    slow, _, fast, lucky = (try_(history, *s) for s in ((3.0,), (), (1.0,), (2.0, 0.1, 2.5)))
    assert list(history.best(KERNEL, 9)) == [fast, lucky, slow]
    assert list(history.best(KERNEL, 2)) == [fast, lucky]
    assert history.best(KERNEL, 1) == {fast: history.trials(KERNEL)[fast]}
    assert history.tried(KERNEL) == 4
    assert (history.tried(OTHER), history.best(OTHER, 9)) == (0, {})


def test_the_default_schedule_is_as_fast_as_its_fastest_timing_was(history: History) -> None:
    time_(history)
    assert history.default_s(KERNEL) == math.inf
    time_(history, 3.0)
    time_(history, 2.0)
    time_(history, 1.0, trial=try_(history, 1.0))
    assert history.default_s(KERNEL) == 2.0
    assert history.default_s(OTHER) == math.inf


def test_the_lowest_latency_is_of_any_timing_or_trial(history: History) -> None:
    time_(history, 3.0)
    assert history.fastest_s(KERNEL) == 3.0
    trial = try_(history, 2.0)
    assert history.fastest_s(KERNEL) == 2.0
    time_(history, 1.5, trial=trial)
    time_(history, trial=trial)
    assert history.fastest_s(KERNEL) == 1.5


def test_what_counts_is_what_the_store_says(history: History) -> None:
    trial = try_(history, 1.0)
    time_(history, 3.0)
    time_(history, 2.0, trial=trial)
    time_(history, 1.0, trial=trial, notes=("drift: of the machine",))
    timings = history.timings(KERNEL)
    assert list(timings) == [None, trial]
    assert [found.median_s for found in timings[trial]] == [2.0, 1.0]
    assert history.fastest(KERNEL) == (trial, timings[trial][0])


def test_environments_are_apart(history: History) -> None:
    try_(history, 1.0)
    time_(history, 1.0)
    elsewhere = History(history.store, history.store.add_environment({**BOARD, "device": "another"}))
    assert (elsewhere.trials(KERNEL), elsewhere.timings(KERNEL)) == ({}, {})


def test_what_others_tell_stands_apart_the_fastest_first(history: History) -> None:
    assert history.told(KERNEL) == {}
    sources = [told_by(BOARD, {"file": name}) for name in ("a", "b")] + [told_by({"other": 1}, {})]
    for source, median_s in zip(sources, (3.0, 2.0, 1.0), strict=True):
        there = history.store.add_environment(source)
        trials = [Trial(schedule=text, samples_s=(median_s,)) for text in ("[1]", str([median_s]))]
        history.store.add_trials(there, [(KERNEL.key, trial) for trial in trials])
    told = history.told(KERNEL)
    assert {text: trial.samples_s for text, trial in told.items()} == {
        "[1]": (2.0,),
        "[2.0]": (2.0,),
        "[3.0]": (3.0,),
    }
    assert list(told) == ["[1]", "[2.0]", "[3.0]"]
    assert history.told(OTHER) == history.trials(KERNEL) == {}
    assert history.fastest_s(KERNEL) == math.inf
