"""Latency tables: what their numbers mean, what is looked up, what comes from a store."""

import math
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models.database.history import History
from cost_models.database.records import Measurement, Trial
from cost_models.database.rows import Row, SampleStatistics
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import (
    InvalidMeasurement,
    MissingEntry,
    UnknownEnvironment,
)
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Conv2d

BOARD = {"device": "board", "dtype": "float32", "measure": {"number": 1, "repeat": 5}}
SAMPLES = st.lists(st.floats(1e-7, 10.0), min_size=1, max_size=30).map(tuple)


def chain(*channels: int) -> Any:
    """1x1 convolutions with ReLU, one kernel each; and the shape of the input."""
    net, value = GraphBuilder(), "x"
    for index, (c_in, c_out) in enumerate(pairwise(channels)):
        value = net.conv_bn(f"conv{index}", Conv2d(c_in, c_out), value)
        value = net.add(f"relu{index}", Activation("relu"), value)
    return net.build(value), {"x": (1, channels[0], 8, 8)}


def kernels_of(*channels: int) -> list[Kernel]:
    return split_into_kernels(*chain(*channels))


def table_of(**samples_s: tuple[float, ...]) -> LatencyTable:
    return LatencyTable("board", BOARD, {k: Row("default", 0, s) for k, s in samples_s.items()})


# --- numbers ---


def test_percentiles_of_known_samples() -> None:
    found = SampleStatistics.of(tuple(float(n) for n in range(11, 0, -1)), tuned=True)
    # 95 % interval of the median of 11: from the second smallest to the second largest
    assert found == SampleStatistics(6.0, 2.0, 10.0, samples=11, kernels=1, tuned=1, interval_s=8.0)
    assert found.width == pytest.approx(8 / 6)


def test_single_sample_tells_nothing_of_its_width() -> None:
    found = SampleStatistics.of((0.25,), tuned=False)
    assert found == SampleStatistics(0.25, 0.25, 0.25, 1, 1, 0, interval_s=math.inf)
    assert found.width == math.inf


@given(SAMPLES)
def test_percentiles_stand_around_the_median_and_within_the_samples(samples_s: tuple[float, ...]) -> None:
    found = SampleStatistics.of(samples_s, tuned=False)
    nothing = 1e-9 * max(samples_s)
    assert min(samples_s) - nothing <= found.p10_s <= found.median_s + nothing
    assert found.median_s <= found.p90_s + nothing <= max(samples_s) + 2 * nothing
    assert found.median_s == statistics.median(samples_s)
    assert found.samples == len(samples_s)


@given(st.lists(SAMPLES, max_size=8))
def test_total_is_the_sum(parts: list[tuple[float, ...]]) -> None:
    latencies = [SampleStatistics.of(samples, tuned=len(samples) % 2 == 0) for samples in parts]
    total = SampleStatistics.total(latencies)
    assert total.median_s == pytest.approx(sum(found.median_s for found in latencies))
    assert total.p10_s == pytest.approx(sum(found.p10_s for found in latencies))
    assert total.p90_s == pytest.approx(sum(found.p90_s for found in latencies))
    assert total.kernels == len(parts)
    assert total.tuned == sum(len(samples) % 2 == 0 for samples in parts)
    assert total.samples == min(map(len, parts), default=0)


def test_width_of_a_sum_is_the_sum_of_widths_over_the_sum_of_medians() -> None:
    long, short = (
        SampleStatistics.of((9.0, 10.0, 11.0), tuned=True),
        SampleStatistics.of((1.0, 2.0), tuned=True),
    )
    assert (long.width, short.width) == (0.2, pytest.approx(1 / 1.5))
    total = SampleStatistics.total([long, short, SampleStatistics()])
    assert total.width == pytest.approx((2.0 + 1.0) / (10.0 + 1.5))
    assert SampleStatistics().width == 0.0


def test_an_estimate_counts_in_seconds_and_as_one() -> None:
    row = Row("estimated", 6, estimate_s=2e-3, reason="it broke")
    assert row.statistics == SampleStatistics(2e-3, 2e-3, 2e-3, samples=0, kernels=1, tuned=0, estimated=1)
    total = SampleStatistics.total([row.statistics, Row("transferred", 1, (1e-3, 1e-3)).statistics])
    assert (total.median_s, total.kernels, total.tuned, total.estimated) == (pytest.approx(3e-3), 2, 1, 1)
    assert total.samples == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("best", 0, (1.0,)), "how must be one of default, tuned, transferred, estimated; found 'best'"),
        (("default", 0, ()), r"latencies must be finite and > 0 s, found \(\)"),
        (("tuned", 0, (1.0, 0.0)), r"latencies must be finite and > 0 s, found \(1.0, 0.0\)"),
        (("estimated", 0, (), 1e999, "it broke"), r"latencies must be finite and > 0 s, found \(inf,\)"),
        (
            ("estimated", 0, (1.0,)),
            "an estimated row has estimate_s and reason, any other has samples_s alone",
        ),
        (("estimated", 0, (), 1.0), "an estimated row has estimate_s and reason"),
        (("tuned", 0, (), 1.0, "it broke"), "an estimated row has estimate_s and reason"),
        (("default", 0, (1.0,), 1.0), "an estimated row has estimate_s and reason"),
    ],
)
def test_a_row_that_cannot_be_is_refused(row: Any, message: str) -> None:
    with pytest.raises(InvalidMeasurement, match=message):
        Row(*row)


def test_a_part_without_kernels_costs_nothing_and_hides_no_samples() -> None:
    one = SampleStatistics.of((1.0, 2.0, 3.0), tuned=True)
    assert SampleStatistics.total([]) == SampleStatistics()
    assert SampleStatistics.total([SampleStatistics(), one, SampleStatistics()]) == one


# --- looking up ---


def test_graph_is_the_sum_of_its_kernels_as_often_as_they_run() -> None:
    graph, inputs = chain(8, 16, 16, 16)
    first, twice, again = split_into_kernels(graph, inputs)
    assert twice.key == again.key
    table = table_of(**{first.key: (1e-3, 2e-3, 3e-3), twice.key: (10e-3,)})
    found = table.graph(graph, inputs)
    assert found.median_s == pytest.approx(22e-3)
    assert found.p10_s == pytest.approx(1.2e-3 + 20e-3)
    assert (found.kernels, found.samples, found.tuned) == (3, 1, 0)


def test_graph_without_operations_costs_nothing() -> None:
    assert table_of().graph(GraphBuilder().build("x"), {"x": (1, 8, 4, 4)}) == SampleStatistics()


def test_what_was_not_measured_is_an_error_that_names_it() -> None:
    graph, inputs = chain(8, 16, 32)
    first, second = split_into_kernels(graph, inputs)
    table = table_of(**{first.key: (1e-3,)})
    with pytest.raises(MissingEntry) as caught:
        table.graph(graph, inputs)
    assert str(caught.value) == (
        f"{second.key}: not measured on board; measure it with: squeezenas-tvm profile --target board.yaml"
    )
    with pytest.raises(MissingEntry):  # the same layers on a larger map are another kernel
        table.graph(graph, {"x": (1, 8, 16, 16)})


# --- from a store ---


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        yield store


def add(
    store: MeasurementStore, key: str, how: str, *samples_s: float, of: Any = BOARD, error: str = "it broke"
) -> None:
    """Add a timing; each kernel has one tuned and one transferred schedule."""
    environment = store.add_environment(of)
    store.add_kernel(key, {"key": key})
    measurement = Measurement(kernel=key, how=how, samples_s=samples_s, error=None if samples_s else error)
    known = {trial.schedule: id_ for id_, trial in store.trials(environment, key).items()}
    if how != "default" and how not in known:
        known[how] = store.add_trial(environment, key, Trial(schedule=how, samples_s=(1.0,)))
    store.add_measurement(environment, measurement, trial=known.get(how))


def test_the_fastest_of_all_kinds_wins(store: MeasurementStore) -> None:
    add(store, "a", "default", 2e-3, 2e-3)
    add(store, "a", "tuned", 1e-3, 1.1e-3)
    add(store, "b", "tuned", 5e-3)
    add(store, "b", "default", 4e-3)
    add(store, "c", "default", 4e-3)
    add(store, "c", "transferred", 2e-3)
    add(store, "c", "tuned", 3e-3)
    rows = LatencyTable.from_history(History.of(store, BOARD), "board").rows
    assert rows == {
        "a": Row("tuned", 1, (1e-3, 1.1e-3)),
        "b": Row("default", 1, (4e-3,)),
        "c": Row("transferred", 2, (2e-3,)),
    }
    assert [rows[key].statistics.tuned for key in "abc"] == [1, 0, 1]


def test_the_fastest_of_each_kind_counts(store: MeasurementStore) -> None:
    add(store, "a", "default", 3e-3)
    add(store, "a", "default", 1e-3)
    add(store, "a", "tuned", 0.5e-3)
    add(store, "a", "tuned", 2e-3)
    assert LatencyTable.from_history(History.of(store, BOARD), "board").rows["a"].samples_s == (0.5e-3,)


def test_failures_are_no_rows_and_do_not_hide_what_worked(store: MeasurementStore) -> None:
    add(store, "a", "default", 1e-3)
    add(store, "a", "default")
    add(store, "b", "default")
    assert list(LatencyTable.from_history(History.of(store, BOARD), "board").rows) == ["a"]


def test_what_never_worked_is_estimated_with_the_reason(store: MeasurementStore) -> None:
    add(store, "a", "default")
    add(store, "a", "tuned", error="it hung")
    add(store, "b", "default")
    add(store, "c", "default")
    add(store, "c", "tuned", 1e-3)
    store.add_trial(store.add_environment(BOARD), "a", Trial(schedule="1", error="it broke"))
    asked = []

    def estimate(key: str, description: Any) -> float | None:
        asked.append((key, description))
        return 5e-3 if key == "a" else None

    rows = LatencyTable.from_history(History.of(store, BOARD), "board", estimate).rows
    assert rows == {
        "a": Row("estimated", 2, estimate_s=5e-3, reason="it hung"),
        "c": Row("tuned", 1, (1e-3,)),
    }
    assert asked == [("a", {"key": "a"}), ("b", {"key": "b"})]


def test_rows_of_another_environment_stay_out(store: MeasurementStore) -> None:
    other = {**BOARD, "dtype": "float16"}
    add(store, "a", "default", 1e-3)
    add(store, "a", "default", 9e-3, of=other)
    add(store, "b", "default", 9e-3, of=other)
    table = LatencyTable.from_history(History.of(store, BOARD), "board")
    assert table.rows == {"a": Row("default", 0, (1e-3,))}
    assert table.fingerprint == BOARD
    with pytest.raises(UnknownEnvironment, match="dtype 'float32' instead of 'int8'"):
        History.of(store, {**BOARD, "dtype": "int8"})


def test_rows_say_how_many_trials_stand_behind_them(store: MeasurementStore) -> None:
    add(store, "a", "default", 1e-3)
    add(store, "b", "default", 1e-3)
    environment = store.add_environment(BOARD)
    store.add_trial(environment, "a", Trial(schedule="1", samples_s=(1e-3,)))
    store.add_trial(environment, "a", Trial(schedule="2", error="it broke"))
    rows = LatencyTable.from_history(History.of(store, BOARD), "board").rows
    assert (rows["a"].trials, rows["b"].trials) == (2, 0)
