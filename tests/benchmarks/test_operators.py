"""Single operators beside onnxruntime and beside an older checkout."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from operator_models import MODELS
from operators import PEAKS, table_of, with_shares

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "operators.py"


def spread(ms: float) -> dict[str, float]:
    return {"median": ms, "p10": ms, "p90": ms, "runs": 1}


def row(name: str, macs: int, moved: int, tvm_ms: float, onnxruntime_ms: float) -> dict[str, object]:
    times = {"tvm_ms": spread(tvm_ms), "onnxruntime_ms": spread(onnxruntime_ms)}
    return {"operator": name, "macs": macs, "bytes": moved, **times}


def test_models_are_sound_and_their_bytes_are_known() -> None:
    for name, make in MODELS.items():
        model = make()
        onnx.checker.check_model(model.proto(), full_check=True)
        assert model.moved_bytes > 0, name
        assert {*model.inputs()} == {value.name for value in model.proto().graph.input}
    assert MODELS["peak-product"]().macs == 2**30
    assert MODELS["peak-sum"]().moved_bytes == 3 * 4 * 64 * 64 * 128
    assert MODELS["transposed-2x2-s2"]().macs == 128 * 32 * 64 * 64 * 4


def test_shares_are_of_the_longer_of_work_and_traffic() -> None:
    peaks = [row(PEAKS[0], 1000, 10, 2.0, 1.0), row(PEAKS[1], 0, 100, 1.0, 2.0)]  # 1000 and 100 a millisecond
    told = with_shares(
        [*peaks, row("much work", 4000, 100, 8.0, 16.0), row("much moved", 1000, 400, 4.0, 5.0)]
    )
    assert told[2]["share"] == {"tvm": 0.5, "onnxruntime": 0.25}
    assert told[3]["share"] == {"tvm": 1.0, "onnxruntime": 0.8}
    assert "share" not in with_shares(peaks[:1])[0]


def test_a_row_that_failed_says_why() -> None:
    rows = [{"operator": "matmul", "error": "tvm: no room"}, row("relu6", 0, 1, 2.0, 4.0)]
    lines = table_of(with_shares(rows)).splitlines()
    assert lines[2] == "| matmul | tvm: no room | | | |"
    assert lines[3] == "| relu6 |  | 2 | 4 | 0.50 |"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["matmull"], "error: no operator is matmull, did you mean matmul?; allowed: "),
        (["--before", "/nowhere"], "error: --before /nowhere: no checkout of this project; give the folder"),
    ],
)
def test_what_cannot_be_used_is_refused(given: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *given], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 2
    assert done.stderr.startswith(said)


@pytest.mark.slow
def test_an_operator_is_measured_in_turns() -> None:
    options = ["--before", str(ROOT), "--rounds", "1", "--runs", "2", "--threads", "1", "--json"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "softmax-rows", *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    (found,) = json.loads(done.stdout)["rows"]
    assert found["difference"] < 1e-5
    assert all(found[f"{runtime}_ms"]["runs"] == 2 for runtime in ("before", "tvm", "onnxruntime"))
