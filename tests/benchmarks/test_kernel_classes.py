"""Time by class of kernel, ours and onnxruntime's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_classes import Spent, by_class, kind_of, spent_of, table_of

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kernel_classes.py"


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("conv1x1+relu 16x128x256->48x128x256", "pointwise"),
        ("conv1x1s2 16x128x256->8x64x128", "pointwise"),
        ("conv1x1g2+add 16x64x128->16x64x128", "grouped"),
        ("conv3x3s2+relu 3x256x512->16x128x256", "dense"),
        ("dw5x5s2+relu 96x64x128->96x32x64", "depthwise"),
        ("resize.corners+argmax+tobyte 19x64x128->1x512x1024", "labels"),
        ("pool49x49 160x16x32->160x1x1", "rest"),
    ],
)
def test_classes_of_labels(label: str, kind: str) -> None:
    assert kind_of(label) == kind


def node(name: str, operation: str, us: int, *shapes: list[int], out: list[int]) -> dict[str, object]:
    told = {
        "op_name": operation,
        "input_type_shape": [{"float": shape} for shape in shapes],
        "output_type_shape": [{"float": out}],
    }
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": told}


def test_a_profile_of_onnxruntime() -> None:
    runs = []
    for us in (900, 900, 900, 100, 120, 110):
        runs += [
            node("a", "FusedConv", us, [1, 8, 4, 4], [6, 8, 1, 1], [6], out=[1, 6, 4, 4]),
            node("b", "Conv", us, [1, 8, 4, 4], [8, 1, 3, 3], out=[1, 8, 4, 4]),
            node("c", "Conv", us, [1, 8, 4, 4], [8, 4, 1, 1], out=[1, 8, 4, 4]),
            node("d", "Conv", us, [1, 3, 4, 4], [8, 3, 3, 3], out=[1, 8, 4, 4]),
            node("e", "ArgMax", us, [1, 8, 4, 4], out=[1, 4, 4]),
            node("f", "ReorderInput", us, [1, 8, 4, 4], out=[1, 8, 4, 4]),
        ]
    found = spent_of([*runs, {"cat": "Session", "name": "model_run", "dur": 1}])
    assert found == [
        Spent("pointwise", 6 * 16 * 8, pytest.approx(0.11)),
        Spent("depthwise", 8 * 16 * 9, pytest.approx(0.11)),
        Spent("grouped", 8 * 16 * 4, pytest.approx(0.11)),
        Spent("dense", 8 * 16 * 27, pytest.approx(0.11)),
        Spent("labels", 0, pytest.approx(0.11)),
        Spent("rest", 0, pytest.approx(0.11)),
    ]


def test_the_table() -> None:
    sides = {
        "ours": by_class([Spent("pointwise", 2_000_000, 1.0), Spent("pointwise", 2_000_000, 1.0)]),
        "onnxruntime": by_class([Spent("pointwise", 4_000_000, 4.0), Spent("rest", 0, 0.5)]),
    }
    row = {"network": "net", "peak": {"macs_per_s": 4e9}, **sides}
    lines = [*table_of([row])]
    assert lines[2:] == [
        "| net | pointwise | 4 | 2.00 | 50% | 4.00 | 25% |",
        "| net | rest | 0 | 0.00 | - | 0.50 | - |",
    ]


@pytest.mark.slow
def test_a_network(tmp_path: Path) -> None:
    words = [str(SCRIPT), "squeezenas-mac-small", "--resolution", "64x128", "--rounds", "1", "--json"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    for kind in ("pointwise", "depthwise"):
        assert row["ours"][kind]["macs"] == pytest.approx(row["onnxruntime"][kind]["macs"], rel=0.2)
        assert row["ours"][kind]["ms"] > 0


def test_an_unknown_network_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "squeezenas-lat-smal"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no network is squeezenas-lat-smal")
