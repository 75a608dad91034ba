"""A space that is no chain, from its profile to a network that runs: nothing but `SPACES` knows of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.architecture import load_architecture
from search.spaces.registry import SPACES
from squeezenas_tvm import deploy, evaluate, predict, profile, report, run, search, train

from ..search.spaces.toy_space import TOY

SEARCH = """
schema_version: 1
kind: evolution
name: tiny
summary: two networks and their child
population: 2
sample: 2
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
scoring: {kind: training, epochs: 1}
candidates: 3
frames: 1
"""
TRAIN = """
schema_version: 1
name: tiny
summary: one epoch
stages:
  - kind: segmentation
    name: tiny
    epochs: 1
    batch_size: 2
    crop: [64, 64]
    scale: [1.0, 1.0]
    optimizer: {learning_rate: 0.05}
    schedule: {kind: poly}
"""
DATA = "synthetic:4:64x64"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch, no_hold_outs: None) -> None:
    monkeypatch.setitem(SPACES, TOY.name, TOY)


def test_from_the_profile_to_the_device(
    quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.yaml").write_text(SEARCH)
    (tmp_path / "train.yaml").write_text(TRAIN)
    table, found, trained, bundle = (str(tmp_path / n) for n in ("table", "found", "trained", "bundle"))
    size = ["--target", str(quick), "--resolution", "64x64"]

    assert profile.main([*size, "--space", "toy", "--trials", "0", "--out", table]) == 0
    assert report.main([table]) == 0
    page = (Path(table) / "report.html").read_text(encoding="utf-8")
    assert all(f">{option}<" in page for option in ("wide", "w16"))

    searching = [*size, "--space", "toy", "--strategy", "evolution", "--recipe", f"{tmp_path}/search.yaml"]
    assert search.main([*searching, "--data", DATA, "--table", table, "--out", found]) == 0
    chosen = load_architecture(Path(found) / "chosen.yaml")
    assert dict(chosen.genotype) == TOY.check(chosen.genotype)
    capfd.readouterr()
    assert predict.main([f"{found}/chosen.yaml", *size, "--table", table, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert network["sources"] == {"measured": 1.0}
    assert report.main([found]) == 0

    recipe = ["--recipe", f"{tmp_path}/train.yaml", "--workers", "0", "--out", trained]
    assert train.main([f"{found}/chosen.yaml", "--data", DATA, *recipe]) == 0
    assert deploy.main([f"{trained}/architecture.yaml", *size, "--out", bundle]) == 0
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "image.png")
    seen = ["--out", str(tmp_path / "seen"), "--repeats", "1"]
    assert run.main([bundle, f"{tmp_path}/image.png", *seen]) == 0
    capfd.readouterr()
    scores = []
    for what in (f"{trained}/architecture.yaml", bundle):
        assert evaluate.main([what, "--data", DATA, "--json"]) == 0
        scores.append(json.loads(capfd.readouterr().out)["miou_percent"])
    assert scores[0] == pytest.approx(scores[1], abs=0.5)
