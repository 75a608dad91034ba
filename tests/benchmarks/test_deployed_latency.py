"""Deployed networks beside other runtimes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deployed_latency import agreement, line_of, ratios
from deployed_networks import module_of, write_network
from runtimes import frame_of
from torch.nn.functional import interpolate

from search.resolution import Resolution
from squeezenas_tvm.errors import FailedWork

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "deployed_latency.py"
SIZE = Resolution(64, 128)


def told(ms: float, agrees: float = 1.0) -> dict[str, Any]:
    return {"ms": {"median": ms, "p10": ms, "p90": ms, "runs": 3}, "agrees": agrees}


def kept(folder: Path, name: str, values: Any) -> Path:
    path = folder / f"{name}.npz"
    np.savez(path, values)
    return path


def answers(path: Path) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return session.run(None, {given.name: frame_of(tuple(given.shape))})[0]


def test_classes_agree_by_pixels_and_scores_by_their_largest_difference(tmp_path: Path) -> None:
    classes = np.arange(8, dtype=np.uint8).reshape(1, 2, 4)
    other = classes.copy()
    other[0, 0, 0] += 1
    found = kept(tmp_path, "found", other), kept(tmp_path, "wanted", classes)
    assert agreement(*found) == 7 / 8
    scores = np.array([[1.0, -4.0]], np.float32)
    found = kept(tmp_path, "near", scores + np.float32(0.04)), kept(tmp_path, "scores", scores)
    assert agreement(*found) == pytest.approx(0.99)
    assert agreement(kept(tmp_path, "short", scores[:, :1]), found[1]) == 0.0


def test_ours_is_compared_with_the_fastest_that_gives_the_same() -> None:
    known = {
        "tvm": told(3.0),
        "tvm-tuned": told(2.0),
        "onnxruntime": told(4.0),
        "mnn": told(1.0, agrees=0.5),
        "ncnn": {"error": "cannot be converted"},
    }
    found = ratios(known)
    assert found == {"best": "onnxruntime", "ours_to_best": {"tvm": 0.75, "tvm-tuned": 0.5}}
    assert ratios({"tvm": told(1.0), "ncnn": {"error": "no"}}) == {}
    case = {"network": "net", "resolution": "64x128", "form": "classes", "threads": 2}
    line = line_of({**case, "runtimes": known, **found})
    assert "tvm 3, tvm-tuned 2, onnxruntime 4, mnn 1, ncnn: cannot be converted" in line
    assert line.endswith("tvm 0.75 of onnxruntime, tvm-tuned 0.50 of onnxruntime")


@pytest.mark.parametrize("name", ["squeezenas-lat-small", "fast-scnn"])
def test_scores_are_what_the_classes_are_made_of(name: str, tmp_path: Path) -> None:
    for form in ("classes", "scores"):
        write_network(name, SIZE, form, tmp_path / f"{form}.onnx")
    scores, classes = answers(tmp_path / "scores.onnx"), answers(tmp_path / "classes.onnx")
    assert scores.dtype == np.float32
    assert scores.shape[1] == 19
    assert scores.shape[2] < SIZE.height
    corners = name == "squeezenas-lat-small"
    resized = interpolate(torch.from_numpy(scores), tuple(SIZE), mode="bilinear", align_corners=corners)
    assert (resized.argmax(1).numpy() == classes).mean() > 0.999


@pytest.mark.parametrize("form", ["classes", "scores"])
def test_pytorch_has_the_same_network(form: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write_network("squeezenas-mac-small", SIZE, form, path)
    module, shape = module_of(path)
    with torch.inference_mode():
        found = module.eval()(torch.from_numpy(frame_of(shape))).numpy()
    pair = kept(tmp_path, "found", found), kept(tmp_path, "wanted", answers(path))
    assert agreement(*pair) > 0.999


def test_somebody_elses_network_has_classes_in_pytorch_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write_network("fast-scnn", SIZE, "classes", path)
    module, shape = module_of(path)
    with torch.inference_mode():
        found = module.eval()(torch.from_numpy(frame_of(shape))).numpy()
    assert (found == answers(path)).mean() > 0.999
    write_network("fast-scnn", SIZE, "scores", path)
    with pytest.raises(FailedWork, match="with its last resize alone"):
        module_of(path)


def test_unknown_networks_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "enett"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no network is enett, did you mean enet?; allowed: ")


@pytest.mark.slow
def test_runtimes_take_turns_and_rows_are_kept(tmp_path: Path) -> None:
    options = ["--resolution", "64x128", "--runtimes", "onnxruntime", "torch", "--rounds", "1", "--runs", "2"]
    options += ["--threads", "1", "--forms", "classes", "--out", str(tmp_path / "rows"), "--json"]
    command = [sys.executable, str(SCRIPT), "squeezenas-lat-small", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    (row,) = json.loads(done.stdout)["rows"]
    assert all(row["runtimes"][name]["agrees"] > 0.999 for name in ("tvm", "onnxruntime", "torch"))
    assert row["ours_to_best"]["tvm"] > 0
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert json.loads(again.stdout)["rows"] == [row]
