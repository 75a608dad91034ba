"""The throughput benchmark: its choice of kernels, and a whole run at tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tuning_throughput import choose_kernels

from cost_models.ir.ops import Conv2d
from search.resolution import Resolution

ROOT = Path(__file__).parent.parent.parent
FULL = Resolution.parse("256x512")


def test_twelve_kernels_are_of_every_class() -> None:
    chosen = choose_kernels(FULL, 12)
    assert len({kernel.key for kernel in chosen}) == 12
    assert {kernel.kind for kernel in chosen} == {"dense", "pointwise", "grouped", "depthwise", "memory"}
    convolutions = [node.op for k in chosen for node in k.graph.nodes if isinstance(node.op, Conv2d)]
    depthwise = {(op.stride > 1, op.dilation > 1) for op in convolutions if op.is_depthwise}
    assert depthwise == {(False, False), (True, False), (False, True), (True, True)}
    assert [kernel.key for kernel in choose_kernels(FULL, 12)] == [kernel.key for kernel in chosen]


@pytest.mark.parametrize(("count", "found"), [(1, 1), (5, 5), (10_000, 160)])
def test_any_number_of_kernels(count: int, found: int) -> None:
    assert len({kernel.key for kernel in choose_kernels(FULL, count)}) == found


@pytest.mark.slow
def test_a_whole_run_and_one_that_goes_on(tmp_path: Path) -> None:
    parts = tmp_path / "parts.jsonl"
    size = ["--trials", "2", "--kernels", "1", "--resolution", "64x128"]
    script = str(ROOT / "benchmarks" / "tuning_throughput.py")
    command = [sys.executable, script, *size, "--json", "--out", str(parts)]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    document = json.loads(first.stdout)
    total = document["total"]
    assert (total["plain"]["tried"], total["engine"]["tried"]) == (2, 2)
    assert total["plain"]["evolution_s"] > 0
    assert all(
        total[side][part] > 0 for side in ("plain", "engine") for part in ("wall_s", "build_s", "run_s")
    )
    assert document["kernels"][0]["default_ms"] > 0
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(second.stdout) == document
    assert "group" not in second.stderr
