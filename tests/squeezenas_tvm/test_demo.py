"""The demo: every step of the main job, by the commands that a user would type."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cost_models.database.table import LatencyTable
from search.data.classes import CLASSES
from squeezenas_tvm.bundles.manifest import read_manifest
from squeezenas_tvm.demo import DRAWN, main
from targets import load_target

from .helpers import SIZE, command, fill, finish, kernels_of, refused_by

NAMES = [entry.name for entry in CLASSES["camvid"]]
LOOK = ("deploy", "run")
STEPS = ("profile", "networks", "deploy", "run")


def check_everything_is_there(folder: Path, document: dict[str, Any]) -> None:
    places = {name: folder / document[name] for name in ("table", "overlay", "module")}
    assert {kernel.key for kernel in kernels_of()} == set(LatencyTable.load(places["table"]).rows)
    scene = Image.open(folder / "demo" / "scene.png")
    labels = np.asarray(Image.open(places["overlay"].with_name("scene-labels.png")))
    assert labels.shape == (scene.height, scene.width)
    assert Image.open(places["overlay"]).width >= scene.width
    manifest = read_manifest(places["module"].parent)
    assert manifest["inputs"][0]["shape"] == [1, *SIZE, 3]
    assert manifest["weights"]["trained"] is True
    assert (labels == NAMES.index("road")).mean() > 0.2
    assert (labels == NAMES.index("tree")).mean() > 0.05
    told = document["by_turns"]
    assert 0 < told["low"] <= told["ratio"] <= told["high"]
    assert told["told_apart"] == (not told["low"] <= 1 <= told["high"])
    assert min(told["default_ms"], told["tuned_ms"]) > 0
    assert (told["rounds"], read_manifest(folder / "demo" / "default")["resolution"]) == (7, list(SIZE))


@pytest.mark.slow
def test_every_step_with_a_profile_that_has_little_left_to_do(tmp_path: Path) -> None:
    left_out = [kernel for kernel in kernels_of() if kernel.kind == "depthwise"][:2]
    known = [kernel for kernel in kernels_of() if kernel not in left_out]
    fill(tmp_path / "demo" / "profile", load_target("local-cpu"), known)
    given = ["demo", "--resolution", str(SIZE), "--trials", "1"]
    code, out, said = finish(command(*given, "--json", cwd=tmp_path))
    assert code == 0, said
    check_everything_is_there(tmp_path, json.loads(out))
    started = [line.split()[2] for line in said.splitlines() if line.startswith("$ squeezenas-tvm ")]
    assert started == [*LOOK, *STEPS]
    assert "First picture: demo/seen/scene-overlay.png" in said
    assert "Traceback" not in said
    code, out, said = finish(command(*given, cwd=tmp_path))  # goes on where it stopped: at the end
    assert code == 0, said
    assert out.startswith("Done in ")
    assert "By turns, 7 rounds: default schedules " in out
    assert "times as long (" in out
    for place in ("demo/profile", "demo/seen/scene-overlay.png", "demo/bundle/model.so"):
        assert place in out
    assert DRAWN in out


def test_it_ends_by_timing_what_it_deployed_first_and_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Commands are only noted here."""
    steps: list[list[str]] = []
    timed: list[list[Path]] = []

    def by_turns(folders: list[Path]) -> list[list[list[float]]]:
        timed.append(folders)
        return [[[4.0]] * 7, [[3.0]] * 7]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("squeezenas_tvm.demo.dispatch", lambda step: steps.append(list(step)) or 0)
    monkeypatch.setattr("squeezenas_tvm.comparing.turns.by_turns", by_turns)
    assert main([]) == 0
    assert [step[0] for step in steps] == [*LOOK, *STEPS]
    deployed = [step for step in steps if step[0] == "deploy"]
    assert [step[step.index("--out") + 1] for step in deployed] == ["demo/default", "demo/bundle"]
    measured = [step[step.index("--measurements") + 1] for step in deployed]
    assert measured == ["demo/none", "demo/profile"]  # never what a profile of the user's left
    assert timed == [[Path("demo/default"), Path("demo/bundle")]]
    assert (
        "By turns, 7 rounds: default schedules 4 ms, tuned ones 3 ms, 0.75 times as long (0.75 to 0.75)."
        in capfd.readouterr().out
    )


@pytest.mark.slow
def test_demo_from_nothing(tmp_path: Path) -> None:
    given = ["demo", "--resolution", str(SIZE), "--trials", "0", "--json"]
    code, out, said = finish(command(*given, cwd=tmp_path), timeout_s=600)
    assert code == 0, said
    check_everything_is_there(tmp_path, json.loads(out))
    assert json.loads(out)["minutes"] < 10


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--image", "none.png"], "none.png: no such file"),
        (["--weights", "none.pth"], "none.pth: no such file"),
        (["--resolution", "7x7"], "the nearest that works is 64x64"),
        (["--trials", "-1"], "argument --trials: '-1' is not a whole number of 0 or more"),
        (["--out", "/dev/null/x"], "/dev/null/x/scene.png cannot be written: Not a directory; name another"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_done(
    argv: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_none_is_refused_before_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street.jpg").write_text("to do", encoding="utf-8")
    assert main(["--image", "street.jpg"]) == 2
    assert capfd.readouterr().err.startswith("error: street.jpg: damaged, or no PNG, JPEG, BMP")
    assert [path.name for path in tmp_path.iterdir()] == ["street.jpg"]


def test_step_that_is_refused_ends_the_demo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What an earlier run left at the profile's place is no store."""
    (tmp_path / "demo" / "profile" / "measurements.sqlite").mkdir(parents=True)
    assert main(["--resolution", str(SIZE), "--out", str(tmp_path / "demo")]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert "is a folder; name a file" in lines[-2]
    assert lines[-1] == "error: the demo's step profile was refused, see above"


def test_a_scene_of_the_user_is_not_written_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scene.png").write_text("mine")
    said = "scene.png is there already, and was not written here"
    refused_by(main, ["--resolution", str(SIZE), "--out", str(tmp_path)], said, capfd)
    assert (tmp_path / "scene.png").read_text() == "mine"
