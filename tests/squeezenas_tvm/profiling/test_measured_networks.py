"""CSV files of measured networks: what is read from them, and every way in which they are wrong."""

from pathlib import Path

import pytest

from cost_models.ir.fusion import split_into_kernels
from cost_models.onnx_io.exporter import to_onnx
from search.architecture import dump_architecture, load_architecture
from search.costs.kernel_table import network_kernels
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.measured_networks import read_networks

from ..helpers import SIZE

NAMES = [f"squeezenas-{loss}-{size}" for loss in ("lat", "mac") for size in ("small", "large")]
HEAD = "network,resolution,latency_ms"
ROWS = [f"{name},{SIZE},{10 + index}" for index, name in enumerate(NAMES)]


def csv_file(folder: Path, *lines: str) -> Path:
    path = folder / "measured.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_networks_with_their_kernels_and_seconds(tmp_path: Path) -> None:
    networks, notes = read_networks(csv_file(tmp_path, HEAD, *ROWS))
    assert [network.name for network in networks] == [f"{name} {SIZE}" for name in NAMES]
    assert [network.seconds for network in networks] == pytest.approx([0.010, 0.011, 0.012, 0.013])
    assert networks[0].kernels == tuple(network_kernels(load_architecture(NAMES[0]), SIZE))
    assert notes == []


def test_columns_in_any_order_and_those_for_people(tmp_path: Path) -> None:
    lines = [f"first, {10 + i}, {name}, 30, {SIZE}" for i, name in enumerate(NAMES)]
    path = csv_file(tmp_path, "note, latency_ms, network, runs, resolution", *lines, "")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as spreadsheets write it
    assert len(read_networks(path)[0]) == 4


def test_files_are_found_beside_the_csv_file(tmp_path: Path) -> None:
    architecture = load_architecture(NAMES[0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.yaml").write_text(dump_architecture(architecture))
    graph, shapes = architecture.network(), {"x": (1, 3, *SIZE)}
    (tmp_path / "b.onnx").write_bytes(to_onnx(graph, shapes).SerializeToString())
    rows = [f"mine/a.yaml,{SIZE},10", "b.onnx,,9", *ROWS[1:]]
    networks, _ = read_networks(csv_file(tmp_path, HEAD, *rows))
    assert networks[0].kernels == tuple(network_kernels(architecture, SIZE))
    assert networks[1].name == "b.onnx"
    assert sorted(k.key for k in networks[1].kernels) == sorted(
        k.key for k in split_into_kernels(graph, shapes)
    )


def test_the_median_of_a_network_that_was_measured_often(tmp_path: Path) -> None:
    architecture = load_architecture(NAMES[0])
    (tmp_path / "same.yaml").write_text(dump_architecture(architecture))
    again = [f"{NAMES[0]},{SIZE},14", f"same.yaml,{SIZE},11", ROWS[1]]
    networks, notes = read_networks(csv_file(tmp_path, HEAD, *ROWS, *again))
    assert len(networks) == 4
    assert networks[0].seconds == pytest.approx(0.011)
    assert notes == [f"{NAMES[0]} {SIZE} was measured several times (lines 2, 6, 7): the median counts."]


def test_another_resolution_is_another_network(tmp_path: Path) -> None:
    lines = [f"{NAMES[0]},{height}x{2 * height},{height}" for height in (64, 96, 128, 160)]
    assert len(read_networks(csv_file(tmp_path, HEAD, *lines))[0]) == 4


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        f"squeezenas-lat-smal,{SIZE},10",
        f"{NAMES[0]},64by128,10",
        f"{NAMES[0]},{SIZE},",
        *(f"{NAMES[0]},{SIZE},{wrong}" for wrong in ("0", "-3", "nan", "inf", "fast", "12 ms")),
        f"nowhere.yaml,{SIZE},10",
        f"{NAMES[0]},{SIZE},10,too,many",
        f",{SIZE},10",
        f"{NAMES[0]},,x",
    ]
    path = csv_file(tmp_path, HEAD, *rows)
    with pytest.raises(UsageError) as refusal:
        read_networks(path)
    said = str(refusal.value)
    assert said.startswith(f"{path}: line 6: unknown architecture 'squeezenas-lat-smal', did you mean ")
    assert "line 7: resolution '64by128': write HEIGHTxWIDTH" in said
    assert "line 8: latency_ms is '', allowed: a number above 0, in milliseconds; leave networks out" in said
    for line, wrong in enumerate(("0", "-3", "nan", "inf", "fast", "12 ms"), 9):
        assert f"line {line}: latency_ms is {wrong!r}, allowed: a number above 0, in milliseconds" in said
    assert f"line 15: {tmp_path / 'nowhere.yaml'}: cannot be read" in said
    assert "line 16: more cells than the 3 columns" in said
    assert "line 17: unknown architecture ''" in said
    assert "line 18: latency_ms is 'x'" in said
    assert "line 18: resolution ''" in said
    assert not any(f"line {line}:" in said for line in range(1, 6))
    assert "\n" not in said


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        ("network,resolution,latency", "unknown column 'latency', did you mean latency_ms?"),
        ("network,resolution,latency", "no column 'latency_ms'"),
        ("network,latency_ms", "no column 'resolution'"),
        ("network;resolution;latency_ms", "unknown column 'network;resolution;latency_ms'"),
        ("network,resolution,latency_ms,network", "column 'network' is there twice"),
        ("", "no column 'network'"),
        ("network,resolution,latency_ms,", "unknown column ''"),
    ],
)
def test_wrong_columns_are_refused(tmp_path: Path, head: str, fault: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_networks(csv_file(tmp_path, head, *ROWS))
    assert fault in str(refusal.value)
    assert "allowed: network, resolution, latency_ms, and perhaps runs, note" in str(refusal.value)


def test_too_few_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 different networks are too few; measure at least 4, better 10"):
        read_networks(csv_file(tmp_path, HEAD, *ROWS[:3], ROWS[0], ROWS[0]))
    with pytest.raises(UsageError, match="0 different networks are too few"):
        read_networks(csv_file(tmp_path, HEAD))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv: cannot be read \(No such file"):
        read_networks(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bytes\.csv: damaged, no text in UTF-8"):
        read_networks(tmp_path / "bytes.csv")
