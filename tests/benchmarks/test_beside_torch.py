"""Networks as they are deployed beside the same networks in PyTorch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from beside_torch import Setting, report

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "beside_torch.py"
SETTING = Setting(architecture="net", target="local-cpu", resolution="64x128", measurements=None)


def test_ratios_are_to_the_fastest_form_of_pytorch() -> None:
    forms = {"tvm-float32": [1.0, 2.0, 9.0], "torch-eager": [8.0, 8.0], "torch-compile-autocast": [3.0]}
    said = {form: {"device": "d"} for form in forms} | {
        "tvm-float32-graphs": {"error": "no answer within 9 s"}
    }
    labels = {"torch-eager": np.array([1, 2, 3, 4]), "tvm-float32": np.array([1, 2, 3, 5])}
    found = report(SETTING, said, {**forms, "tvm-float32-graphs": []}, labels)
    assert (found["network"], found["resolution"]) == ("net", "64x128")
    tvm = found["forms"]["tvm-float32"]
    assert (tvm["median_ms"], tvm["runs"], tvm["torch_to_this"], tvm["same_labels"]) == (2.0, 3, 1.5, 0.75)
    assert found["forms"]["torch-eager"]["torch_to_this"] == 3.0 / 8.0
    assert found["forms"]["tvm-float32-graphs"] == {"error": "no answer within 9 s"}


def test_timings_of_an_emulated_gpu_are_told_to_mean_nothing() -> None:
    found = report(replace(SETTING, target="emulated-cuda"), {}, {}, {})
    assert found["caution"] == "emulated-cuda is emulated: its timings mean nothing"


@pytest.mark.slow
def test_both_see_the_same_labels(tmp_path: Path) -> None:
    given = ["--target", "local-cpu", "--resolution", "64x128", "--rounds", "1", "--limit-s", "300"]
    forms = ["--forms", "tvm-float32", "torch-eager", "tvm-float16-graphs"]
    command = [sys.executable, str(SCRIPT), "squeezenas-lat-small", *given, *forms, "--out", "found.jsonl"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=600)
    (line,) = (tmp_path / "found.jsonl").read_text().splitlines()
    forms_found = json.loads(line)["forms"]
    assert forms_found["tvm-float32"]["same_labels"] > 0.999
    assert forms_found["tvm-float32"]["median_ms"] > 0
    assert "allowed: float32" in forms_found["tvm-float16-graphs"]["error"]


@pytest.mark.slow
def test_a_run_without_any_form_fails(tmp_path: Path) -> None:
    given = ["--target", "local-cpu", "--resolution", "64x128", "--forms", "tvm-float16-graphs"]
    command = [sys.executable, str(SCRIPT), "squeezenas-lat-small", *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no form of any network ran")
