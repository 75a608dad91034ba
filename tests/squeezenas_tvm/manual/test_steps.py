"""The tutorials are followed: what a page tells to type is typed, in its order, and leaves what it says."""

import json
import shutil
from pathlib import Path

import pytest

from search.architecture import load_architecture

from ...search.data.packagings import three_classes
from ..test_train import SCENES
from .pages import blocks, commands
from .stepping import donor, recipes, shortened, street, take

SIZE, WIDE = "64x64", "64x128"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hold_outs: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.sample_blocks", lambda *_, **__: [])


def test_words_are_put_in_the_place_of_others() -> None:
    line = ["train", "a.yaml", "--recipe", "camvid", "--data", "camvid:CamVid", "--resume"]
    values = {"--recipe": lambda words: words[1], "camvid:CamVid": "synthetic", "--resume": "x"}
    assert shortened(line, values) == [
        *("train", "a.yaml", "--recipe", "a.yaml", "--data", "synthetic", "--resume"),
        *("--workers", "0"),
    ]


@pytest.mark.slow
def test_from_zero_to_a_segmented_frame(almost_all: Path, quick: Path, tmp_path: Path) -> None:
    """All but ``make demo``, which has tests of its own."""
    (tmp_path / "results/quick-cpu").mkdir(parents=True)
    shutil.copy(almost_all, tmp_path / "results/quick-cpu")
    street(tmp_path / "street.png")
    (text,) = blocks("docs/tutorial.md", "yaml")
    for shown, tiny in (("epochs: 8", "epochs: 2"), ("batch_size: 8", "batch_size: 2")):
        assert shown in text
        text = text.replace(shown, tiny)
    (tmp_path / "minutes.yaml").write_text(text.replace("[128, 256]", "[64, 64]"), encoding="utf-8")
    short = recipes(tmp_path)
    values = {
        "--target": str(quick),
        "local-cpu": str(quick),
        "results/local-cpu": "results/quick-cpu",
        "--resolution": WIDE,
        "--data": "synthetic:6:64x128",
        "--budget": "5ms",
        "--recipe": lambda words: short(words) if words[0] == "search" else "minutes.yaml",
    }
    done = take(commands("docs/tutorial.md"), values, tmp_path)
    assert done == [
        *("targets", "deploy", "run", "run.py", "profile", "predict", "report", "search", "report"),
        *("train", "evaluate", "report", "deploy", "evaluate", "run", "compare"),
    ]
    assert (tmp_path / "seen/street-overlay.png").is_file()
    assert (tmp_path / "found/front/00.yaml").is_file()
    assert load_architecture("found/trained/architecture.yaml").weights_path is not None
    assert (tmp_path / "seen-by-mine/street-labels.png").is_file()
    assert (tmp_path / "compared/compare.csv").is_file()


def test_a_network_of_ones_own(quick: Path, tmp_path: Path) -> None:
    street(tmp_path / "street.png")
    (text,) = blocks("docs/networks.md", "python")
    assert "1, 3, 128, 256" in text
    exec(text.replace("1, 3, 128, 256", "1, 3, 64, 128"), {})
    lines = commands("docs/networks.md")
    steps = lines[: 1 + next(place for place, words in enumerate(lines) if words[1] == "compare")]
    values = {  # where not all was measured, local-cpu has a table
        "--target": lambda words: "local-cpu" if {"--check", "compare"} & {*words} else str(quick),
        "--data": "synthetic:5:64x128",
    }
    done = take(steps, values, tmp_path)
    assert done == ["predict", "profile", "predict", "deploy", "run", "evaluate", "compare"]
    (network,) = json.loads((tmp_path / "results/quick-cpu/onnx-networks.json").read_text())["networks"]
    assert network["name"] == "net.onnx"
    assert (tmp_path / "seen/street-labels.png").is_file()
    assert (tmp_path / "compared/compare.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "folders", "budget"),
    [
        ("gumbel", ("found", "bundle"), "4ms"),
        ("evolution", ("evolved",), "4ms"),
        ("random", ("drawn",), "6ms"),
        ("cosearch", ("cosearched",), "4ms"),
        ("gas", ("gas-found",), "6ms"),
    ],
)
def test_every_strategy(strategy: str, folders: tuple[str, ...], budget: str, tmp_path: Path) -> None:
    """But for the published search of FasterSeg, whose grid is for a GPU, and decoders."""
    lines = [
        words
        for words in commands("docs/searching.md")
        if any(word.partition("/")[0] in folders for word in words)
    ]
    values = {
        "--data": SCENES,
        "--resolution": SIZE,
        "--recipe": recipes(tmp_path),
        "--budget": budget,
        "--target": lambda words: "local-cpu" if words[0] == "deploy" else "jetson-xavier",
        "--space": lambda words: words[words.index("--space") + 1].replace("gas", "gas:cells=4,channels=4"),
    }
    assert strategy == "gumbel" or strategy in lines[0]
    done = take(lines, values, tmp_path)
    assert done.count("search") == 1
    assert load_architecture(tmp_path / folders[0] / "chosen.yaml").task == "segmentation"
    assert strategy in ("evolution", "random") or (tmp_path / folders[0] / "trained/best.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("task", "image"), [("depth", "room.png"), ("pose", "person.png")])
def test_depth_and_key_points(task: str, image: str, tmp_path: Path) -> None:
    street(tmp_path / image)
    lines = [words for words in commands("docs/tasks.md") if any(word.startswith(task) for word in words)]
    values = {
        "--data": "synthetic:6:64x96",
        "--resolution": "64x96",
        "--recipe": recipes(tmp_path, task),
        "--target": lambda words: "local-cpu" if words[0] == "deploy" else "jetson-xavier",
        "--budget": "6ms",
    }
    done = take(lines, values, tmp_path)
    assert done[:2] == ["search", "train"]
    assert done[-2:] == ["deploy", "run"]
    assert load_architecture(tmp_path / task / "trained/architecture.yaml").task == task
    stem = image.partition(".")[0]
    ending = {"depth": "metres.npy", "pose": "key_points.json"}[task]
    found = {path.name for path in (tmp_path / "seen").iterdir()}
    assert found == {f"{stem}-overlay.png", f"{stem}-{ending}"}


@pytest.mark.slow
def test_data_of_ones_own(tmp_path: Path) -> None:
    three_classes(tmp_path / "orchard", counts={"train": 4, "val": 2})
    street(tmp_path / "orchard/images/val/0201.jpg")
    shutil.copy(tmp_path / "orchard/labels/val/000.png", tmp_path / "orchard/labels/val/0201.png")
    street(tmp_path / "orchard/images/val/0201.jpg", (64, 96))
    values = {
        "--resolution": "64x96",
        "--recipe": recipes(tmp_path),
        "--target": lambda words: "local-cpu" if words[0] == "deploy" else "jetson-xavier",
        "--budget": "4ms",
    }
    done = take(commands("docs/data.md"), values, tmp_path)
    assert done == ["search", "train", "evaluate", "deploy", "evaluate", "run"]
    assert (tmp_path / "seen/0201-labels.png").is_file()


@pytest.mark.slow
def test_weights_of_another_network(tmp_path: Path) -> None:
    donor(tmp_path / "lat_small.safetensors")
    (tmp_path / "found").mkdir()
    (tmp_path / "found/chosen.yaml").write_text("space: squeezenas-small\nblocks: [" + "k3e3, " * 20 + "]\n")
    values = {
        "--data": SCENES,
        "--resolution": SIZE,
        "--recipe": recipes(tmp_path),
        "--budget": "4ms",
        "lat_small.pth": "lat_small.safetensors",
    }
    lines = commands("docs/remapping.md")
    lines[1][lines[1].index("found")] = "searched"  # the folder of the line before has a training already
    assert take(lines, values, tmp_path) == ["train", "search", "search"]
    for folder in ("found/trained", "searched", "evolved"):
        assert (tmp_path / folder / "remapped.csv").is_file()
