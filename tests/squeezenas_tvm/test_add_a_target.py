"""A target is a file: a copy of a shipped one with other values is described, measured on and deployed to."""

import json
from pathlib import Path

import pytest

import targets as shipped_targets
from search.spaces.registry import SPACES
from squeezenas_tvm import deploy, profile, targets

from ..search.spaces.toy_space import TOY

NETWORK = "space: toy\nchoices: {branch: wide, deep.kernel: k3, tail: w8}\nclasses: camvid\n"


def test_a_copied_file_is_a_target(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_hold_outs: None
) -> None:
    monkeypatch.setitem(SPACES, TOY.name, TOY)  # which has few kernels
    text = (Path(shipped_targets.__file__).parent / "local-cpu.yaml").read_text(encoding="utf-8")
    for shipped, own in (
        ("name: local-cpu", "name: bench-pc"),
        ("summary: The CPU of this machine", "summary: The PC on the bench"),
        ("key: local-cpu", "key: bench-pc"),
        ("repeat: 10", "repeat: 3"),
        ("min_repeat_ms: 20", "min_repeat_ms: 1"),
        ("interval_width: 0.05", "interval_width: 0.5"),
        ("drift: 0.1", "drift: 0.5"),
        ("budget_s: 1.5", "budget_s: 0.05"),
    ):
        assert shipped in text
        text = text.replace(shipped, own)
    path = tmp_path / "bench-pc.yaml"
    path.write_text(text, encoding="utf-8")

    assert targets.main([str(path)]) == 0
    assert "The PC on the bench" in capfd.readouterr().out
    assert targets.main(["check", str(path)]) == 0

    on = ["--target", str(path), "--resolution", "64x64"]
    out = tmp_path / "results"
    profiled = ["--space", "toy", "--trials", "0", "--out", str(out)]
    assert profile.main([*on, *profiled]) == 0
    assert json.loads((out / "table.json").read_text())["target"] == "bench-pc"
    bundle = tmp_path / "bundle"
    (tmp_path / "wide.yaml").write_text(NETWORK, encoding="utf-8")
    assert deploy.main([f"{tmp_path}/wide.yaml", *on, "--out", str(bundle)]) == 0
    assert json.loads((bundle / "manifest.json").read_text())["target"]["name"] == "bench-pc"
