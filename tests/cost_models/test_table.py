"""Latency tables: what their numbers mean, what is looked up, what is refused when they are read."""

import hashlib
import json
import statistics
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models.errors import CostModelError, IncompatibleTable, MissingEntry, UnknownEnvironment
from cost_models.graph import GraphBuilder
from cost_models.kernels import Kernel, split_into_kernels
from cost_models.ops import Activation, Conv2d
from cost_models.records import Measurement, Trial
from cost_models.store import MeasurementStore
from cost_models.table import Latency, LatencyTable, Row

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
    latency = Latency.of_samples(tuple(float(n) for n in range(11, 0, -1)), tuned=True)
    assert latency == Latency(median_s=6.0, low_s=2.0, high_s=10.0, samples=11, kernels=1, tuned=1)


def test_single_sample_is_all_there_is() -> None:
    assert Latency.of_samples((0.25,), tuned=False) == Latency(0.25, 0.25, 0.25, 1, 1, 0)


@given(SAMPLES)
def test_percentiles_stand_around_the_median_and_within_the_samples(samples_s: tuple[float, ...]) -> None:
    latency = Latency.of_samples(samples_s, tuned=False)
    nothing = 1e-9 * max(samples_s)
    assert min(samples_s) - nothing <= latency.low_s <= latency.median_s + nothing
    assert latency.median_s <= latency.high_s + nothing <= max(samples_s) + 2 * nothing
    assert latency.median_s == statistics.median(samples_s)
    assert latency.samples == len(samples_s)


@given(st.lists(SAMPLES, max_size=8))
def test_total_is_the_sum(parts: list[tuple[float, ...]]) -> None:
    latencies = [Latency.of_samples(samples, tuned=len(samples) % 2 == 0) for samples in parts]
    total = Latency.total(latencies)
    assert total.median_s == pytest.approx(sum(latency.median_s for latency in latencies))
    assert total.low_s == pytest.approx(sum(latency.low_s for latency in latencies))
    assert total.high_s == pytest.approx(sum(latency.high_s for latency in latencies))
    assert total.kernels == len(parts)
    assert total.tuned == sum(len(samples) % 2 == 0 for samples in parts)
    assert total.samples == min(map(len, parts), default=0)


def test_a_part_without_kernels_costs_nothing_and_hides_no_samples() -> None:
    one = Latency.of_samples((1.0, 2.0, 3.0), tuned=True)
    assert Latency.total([]) == Latency()
    assert Latency.total([Latency(), one, Latency()]) == one


# --- looking up ---


def test_graph_is_the_sum_of_its_kernels_as_often_as_they_run() -> None:
    graph, inputs = chain(8, 16, 16, 16)
    first, twice, again = split_into_kernels(graph, inputs)
    assert twice.key == again.key
    table = table_of(**{first.key: (1e-3, 2e-3, 3e-3), twice.key: (10e-3,)})
    latency = table.graph(graph, inputs)
    assert latency.median_s == pytest.approx(22e-3)
    assert latency.low_s == pytest.approx(1.2e-3 + 20e-3)
    assert (latency.kernels, latency.samples, latency.tuned) == (3, 1, 0)


def test_graph_without_operations_costs_nothing() -> None:
    assert table_of().graph(GraphBuilder().build("x"), {"x": (1, 8, 4, 4)}) == Latency()


def test_what_was_not_measured_is_an_error_that_names_it() -> None:
    graph, inputs = chain(8, 16, 32)
    first, second = split_into_kernels(graph, inputs)
    table = table_of(**{first.key: (1e-3,)})
    with pytest.raises(MissingEntry) as caught:
        table.graph(graph, inputs)
    assert str(caught.value) == (
        f"{second.key}: not measured on board; "
        "measure it with: python -m squeezenas_tvm.profile --target board"
    )
    with pytest.raises(MissingEntry):  # the same layers on a larger map are another kernel
        table.graph(graph, {"x": (1, 8, 16, 16)})


# --- from a store ---


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        yield store


def add(store: MeasurementStore, key: str, how: str, *samples_s: float, of: Any = BOARD) -> None:
    environment = store.add_environment(of)
    store.add_kernel(key, {"key": key})
    error = None if samples_s else "it broke"
    store.add_measurement(environment, Measurement(kernel=key, how=how, samples_s=samples_s, error=error))


def test_the_faster_of_default_and_tuned_wins(store: MeasurementStore) -> None:
    add(store, "a", "default", 2e-3, 2e-3)
    add(store, "a", "tuned", 1e-3, 1.1e-3)
    add(store, "b", "tuned", 5e-3)
    add(store, "b", "default", 4e-3)
    rows = LatencyTable.from_store(store, "board", BOARD).rows
    assert rows == {"a": Row("tuned", 0, (1e-3, 1.1e-3)), "b": Row("default", 0, (4e-3,))}
    assert (rows["a"].latency.tuned, rows["b"].latency.tuned) == (1, 0)


def test_the_newest_of_each_kind_counts_even_where_it_is_slower(store: MeasurementStore) -> None:
    add(store, "a", "default", 1e-3)
    add(store, "a", "default", 3e-3)
    add(store, "a", "tuned", 0.5e-3)
    add(store, "a", "tuned", 2e-3)
    assert LatencyTable.from_store(store, "board", BOARD).rows["a"].samples_s == (2e-3,)


def test_failures_are_no_rows_and_do_not_hide_what_worked(store: MeasurementStore) -> None:
    add(store, "a", "default", 1e-3)
    add(store, "a", "default")
    add(store, "b", "default")
    assert list(LatencyTable.from_store(store, "board", BOARD).rows) == ["a"]


def test_rows_of_another_environment_stay_out(store: MeasurementStore) -> None:
    other = {**BOARD, "dtype": "float16"}
    add(store, "a", "default", 1e-3)
    add(store, "a", "default", 9e-3, of=other)
    add(store, "b", "default", 9e-3, of=other)
    table = LatencyTable.from_store(store, "board", BOARD)
    assert table.rows == {"a": Row("default", 0, (1e-3,))}
    assert table.fingerprint == BOARD
    with pytest.raises(UnknownEnvironment, match="dtype 'float32' instead of 'int8'"):
        LatencyTable.from_store(store, "board", {**BOARD, "dtype": "int8"})


def test_rows_say_how_many_trials_stand_behind_them(store: MeasurementStore) -> None:
    add(store, "a", "default", 1e-3)
    add(store, "b", "default", 1e-3)
    environment = store.add_environment(BOARD)
    store.add_trial(environment, "a", Trial(trace="1", samples_s=(1e-3,)))
    store.add_trial(environment, "a", Trial(trace="2", error="it broke"))
    rows = LatencyTable.from_store(store, "board", BOARD).rows
    assert (rows["a"].trials, rows["b"].trials) == (2, 0)


# --- on disk ---

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = {"conv1x1 8x8x8->8x8x8 #1": Row("tuned", 16, (1e-3, 2e-3)), "b": Row("default", 0, (0.5,))}
    LatencyTable("board", BOARD, rows).save(tmp_path / "table", made_by="a test")
    return tmp_path / "table"


def test_saved_table_is_read_back_and_says_how_it_was_made(saved: Path) -> None:
    rows = {"conv1x1 8x8x8->8x8x8 #1": Row("tuned", 16, (1e-3, 2e-3)), "b": Row("default", 0, (0.5,))}
    assert LatencyTable.load(saved) == LatencyTable("board", BOARD, rows)
    assert LatencyTable.load(str(saved), target="board").rows == rows
    header = json.loads((saved / "table.json").read_text(encoding="utf-8"))
    assert header["made_by"] == "a test"
    assert (saved / "kernels.csv").read_text(encoding="utf-8").splitlines()[
        0
    ] == "kernel,how,trials,samples_s"
    assert sorted(path.name for path in saved.iterdir()) == ["kernels.csv", "table.json"]


@given(st.dictionaries(KEYS, SAMPLES, max_size=5))
def test_any_rows_survive_the_disk(
    tmp_path_factory: pytest.TempPathFactory, samples: dict[str, tuple[float, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    table_of(**samples).save(folder, made_by="a test")
    read = LatencyTable.load(folder)
    assert list(read.rows) == list(samples)
    for key, samples_s in samples.items():
        assert read.rows[key].samples_s == pytest.approx(samples_s, rel=1e-8)


def check_refused(folder: Path, *said: str, **options: Any) -> None:
    with pytest.raises(IncompatibleTable) as caught:
        LatencyTable.load(folder, **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    for words in said:
        assert words in str(caught.value)


def test_table_of_another_target_is_refused(saved: Path) -> None:
    check_refused(
        saved,
        f"{saved}: is a table of board, not of other; give --table the folder of a profile of other, or make",
        target="other",
    )


@pytest.mark.parametrize("name", ["kernels.csv", "table.json"])
def test_missing_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    check_refused(saved, "kernels.csv")


def test_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        check_refused(folder, f"{folder}: no sound table there (a folder with table.json and kernels.csv")


def test_one_changed_digit_is_noticed(saved: Path) -> None:
    text = (saved / "kernels.csv").read_text(encoding="utf-8")
    (saved / "kernels.csv").write_text(text.replace("0.002", "0.003"), encoding="utf-8")
    check_refused(saved, "kernels.csv: differs from its checksum in table.json; profile again into the same")


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{", '"x"', "{}", '{"schema_version": 1}', '{"schema_version": 1, "target": 7}']
)
def test_damaged_header_is_refused(saved: Path, text: str) -> None:
    (saved / "table.json").write_text(text, encoding="utf-8")
    check_refused(saved, "no sound table there")


def test_bytes_that_are_no_text_are_refused(saved: Path) -> None:
    (saved / "table.json").write_bytes(b"\xff\xfe\x00")
    check_refused(saved, "no sound table there")


def test_newer_schema_is_named_whatever_else_it_holds(saved: Path) -> None:
    (saved / "table.json").write_text('{"schema_version": 2, "goal": "board"}', encoding="utf-8")
    check_refused(saved, "table.json: schema 2, this program reads 1; update it or profile again")


@pytest.mark.parametrize(
    "rows",
    [
        b"kernel,how,trials\na,tuned,1\n",
        b"kernel,how,trials,samples_s\na,tuned,many,0.1\n",
        b"kernel,how,trials,samples_s\na,tuned,1,0.1 fast\n",
        b"kernel,how,trials,samples_s\na,tuned\n",
        b"\xff\xfe",
    ],
)
def test_rows_of_another_form_are_refused_though_their_sum_is_right(saved: Path, rows: bytes) -> None:
    header = json.loads((saved / "table.json").read_text(encoding="utf-8"))
    header["sha256"]["kernels.csv"] = hashlib.sha256(rows).hexdigest()
    (saved / "table.json").write_text(json.dumps(header), encoding="utf-8")
    (saved / "kernels.csv").write_bytes(rows)
    check_refused(saved, "kernels.csv: not the rows of a table; profile again into the same folder")


def test_place_that_cannot_be_written_is_named(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        CostModelError, match=r"file/kernels\.csv: cannot be written \(.*\); what was measured"
    ):
        LatencyTable.load(saved).save(tmp_path / "file", made_by="a test")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KiB; skips where that is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_kib: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a small file system needs root")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_full_disk_keeps_the_table_that_was_there(saved: Path, full_disk: Callable[[int], Path]) -> None:
    folder = full_disk(64) / "table"
    old = LatencyTable.load(saved)
    old.save(folder, made_by="a test")
    large = table_of(**{f"kernel {n}": (0.123456789,) * 20 for n in range(1000)})
    with pytest.raises(CostModelError, match=r"kernels\.csv: cannot be written \(No space left on device\)"):
        large.save(folder, made_by="a test")
    assert LatencyTable.load(folder) == old
    assert sorted(path.name for path in folder.iterdir()) == ["kernels.csv", "table.json"]
