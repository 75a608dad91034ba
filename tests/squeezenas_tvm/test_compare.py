"""Networks side by side: what is known of each, from its own source."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from search.architecture import dump_architecture, load_architecture
from squeezenas_tvm.compare import main
from squeezenas_tvm.comparing.compare import Compared, _with_front
from squeezenas_tvm.predict import main as predict

from .helpers import refused_by
from .torch_networks import export

refused = partial(refused_by, main)
SIZE = "64x128"


@pytest.fixture(autouse=True)
def _without_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compared(capfd: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    capfd.readouterr()
    assert main([*argv, "--target", "local-cpu", "--json"]) == 0
    document: dict[str, Any] = json.loads(capfd.readouterr().out)
    return document


def test_architectures_files_and_bundles(
    sealed_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = export("unet", tmp_path / "unet.onnx", (32, 64))
    names = ("squeezenas-lat-small", "squeezenas-mac-small", str(file), str(sealed_bundle))
    found = compared(capfd, *names, "--resolution", SIZE, "--out", "out")
    by_name = {own["name"]: own for own in found["networks"]}
    assert [own["latency_ms"] for own in found["networks"]] == sorted(
        own["latency_ms"] for own in found["networks"]
    )
    kinds = {name: own["kind"] for name, own in by_name.items()}
    assert kinds == {
        "squeezenas-lat-small": "architecture",
        "squeezenas-mac-small": "architecture",
        "unet.onnx": "onnx",
        "tiny": "bundle",
    }
    small = by_name["squeezenas-lat-small"]
    published = load_architecture("squeezenas-lat-small").results[0]
    assert (small["miou_percent"], small["resolution"]) == (published.miou_percent, SIZE)
    assert by_name["unet.onnx"]["resolution"] == "32x64"
    assert by_name["tiny"]["latency_source"] == "measured here"
    assert by_name["tiny"]["on_front"] is by_name["unet.onnx"]["miou_percent"] is None
    assert predict(["squeezenas-lat-small", "--target", "local-cpu", "--resolution", SIZE, "--json"]) == 0
    (told,) = json.loads(capfd.readouterr().out)["networks"]
    assert small["latency_ms"] == pytest.approx(told["latency_ms"]["median"])
    assert (small["macs"], small["memory_bytes"]) == (told["macs"], told["peak_memory_bytes"])
    rows = list(csv.DictReader(Path("out/compare.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == [own["name"] for own in found["networks"]]
    assert Image.open("out/compare.png").width > 500


def network(name: str, latency_ms: float, miou_percent: float | None) -> Compared:
    costs = {"macs": 1, "params": 1, "memory_bytes": 1, "energy_mj": None}
    sides = {"latency_ms": latency_ms, "low_ms": latency_ms, "high_ms": latency_ms}
    return Compared(name, "onnx", "1x1", **sides, latency_source="", **costs, miou_percent=miou_percent)  # type: ignore[arg-type]


def test_networks_of_one_name_are_told_apart_by_their_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every search calls its own ``chosen``."""
    names = []
    for folder, like in (("one", "squeezenas-lat-small"), ("other", "squeezenas-mac-small")):
        (tmp_path / folder).mkdir()
        named = load_architecture(like).model_copy(update={"name": "chosen"})
        (tmp_path / folder / "chosen.yaml").write_text(dump_architecture(named), encoding="utf-8")
        names.append(f"{folder}/chosen.yaml")
    asked = [*names, "squeezenas-lat-large"]
    found = compared(capfd, *asked, "--resolution", SIZE)["networks"]
    assert {own["name"] for own in found} == {*asked}
    assert predict([*asked, "--target", "local-cpu", "--resolution", SIZE, "--json"]) == 0
    assert [own["name"] for own in json.loads(capfd.readouterr().out)["networks"]] == asked
    assert [own["name"] for own in compared(capfd, names[0], "--resolution", SIZE)["networks"]] == ["chosen"]


def test_the_front_is_of_those_that_nothing_beats() -> None:
    given = [
        network("fast", 1, 50),
        network("beaten", 2, 50),
        network("right", 3, 60),
        network("twin", 3, 60),
        network("unknown", 0.5, None),
    ]
    told = {own.name: own.on_front for own in _with_front(given)}
    assert told == {"fast": True, "beaten": False, "right": True, "twin": True, "unknown": None}


def test_accuracy_is_measured_where_data_is_given(
    sealed_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [str(sealed_bundle), "squeezenas-lat-small", "--resolution", SIZE, "--data", "synthetic:2"]
    found = compared(capfd, *argv)
    by_name = {own["name"]: own for own in found["networks"]}
    assert 0 <= by_name["tiny"]["miou_percent"] < 50
    assert by_name["tiny"]["accuracy_source"].startswith("synthetic")
    assert by_name["squeezenas-lat-small"]["miou_percent"] is None  # it has no weights here


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nothing"], "unknown architecture 'nothing'"),
        (["net.tflite"], "net.tflite: is not ONNX; allowed: architectures by name"),
        (["squeezenas-lat-small", "--resolution", "1"], "resolution"),
        (["squeezenas-lat-small", "--target", "emulated-cuda"], "emulated"),
    ],
)
def test_wrong_use_is_refused(argv: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    target = [] if "--target" in argv else ["--target", "local-cpu"]
    refused([*argv, *target], said, capfd)


def test_nothing_of_others_is_written_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "compare.csv").write_text("mine", encoding="utf-8")
    argv = ["squeezenas-lat-small", "--target", "local-cpu", "--out", str(tmp_path)]
    refused(argv, "compare.csv", capfd)


def test_people_get_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    argv = ["squeezenas-lat-small", "squeezenas-mac-small", "--target", "local-cpu", "--resolution", SIZE]
    assert main(argv) == 0
    said = capfd.readouterr().out
    assert said.splitlines()[0].split()[:3] == ["network", "at", "ms"]
    assert "front: no other network here is both faster and more accurate." in said
    assert "squeezenas-lat-small: accuracy: SqueezeNAS (arXiv:1908.01748)" in said
