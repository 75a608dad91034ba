"""Traces of a store, replayed: TVM refuses them or schedules the kernel, and never ends the process."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from cost_models.errors import CostModelError
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.serialization import trace_text
from cost_models.schedules.trace_text import read_trace
from cost_models.tvm_import import tvm

from ..cost_models.some_kernels import convolution
from .mutations import documents, fuzz

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
REPLAY = """
import json, sys
from pathlib import Path
from cost_models.errors import CostModelError
from cost_models.schedules.serialization import replay_trace
from cost_models.tvm_import import tvm
folder = Path(sys.argv[1])
mod = tvm.ir.load_json((folder / "mod.json").read_text())
for text in json.loads((folder / "traces.json").read_text()):
    (folder / "last.json").write_text(text)
    try:
        replay_trace(mod, text)
    except CostModelError:
        pass
"""


def sampled(mod: Any) -> str:
    """A trace with a decision of every sort."""
    schedule = tvm.s_tir.Schedule(mod, seed=1)
    block = schedule.get_child_blocks(schedule.get_sblock("root"))[-1]
    *_, row, last = schedule.get_loops(block)[:4]
    for loop in (row, last):
        schedule.split(loop, schedule.sample_perfect_tile(loop, n=2, max_innermost_factor=8))
    steps = schedule.sample_categorical([0, 16], [0.5, 0.5])
    schedule.annotate(schedule.get_loops(block)[0], "pragma_auto_unroll_max_step", steps)
    first = schedule.get_child_blocks(schedule.get_sblock("root"))[0]
    schedule.compute_at(first, schedule.sample_compute_location(first), preserve_unit_loops=True)
    return trace_text(schedule)


def test_traces(tmp_path: Path) -> None:
    mod = kernel_module(convolution(4, 8, 6, 16), TARGET)
    sound = json.loads(sampled(mod))
    assert {name for name, *_ in sound[0]} >= {
        "SamplePerfectTile",
        "SampleCategorical",
        "SampleComputeLocation",
    }
    texts: list[str] = [json.dumps(sound)]

    @fuzz(3000)
    @given(documents(sound))
    def collect(trace: Any) -> None:
        text = json.dumps(trace)
        try:
            read_trace(text)
        except CostModelError:
            return
        texts.append(text)

    collect()
    assert len(texts) > 100
    (tmp_path / "mod.json").write_text(tvm.ir.save_json(mod))
    (tmp_path / "traces.json").write_text(json.dumps(texts))
    command = [sys.executable, "-c", textwrap.dedent(REPLAY), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (tmp_path / "last.json").read_text() + done.stderr[-2000:]
