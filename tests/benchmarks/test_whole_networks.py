"""Deployed networks beside onnxruntime, in one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "whole_networks.py"
GIVEN = ["squeezenas-mac-small", "--resolution", "64x128", "--json"]


def test_a_network_is_deployed_and_timed_beside_onnxruntime(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *GIVEN, "--table", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert f"nothing better is on record in {tmp_path}" in done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["name"], row["resolution"]) == ("squeezenas-mac-small", "64x128")
    assert row["tuned_kernels"] == 0
    assert row["estimated_ms"] is None, "nothing was measured there"
    assert row["tvm_to_onnxruntime"] == pytest.approx(row["tvm_ms"] / row["onnxruntime_ms"])
