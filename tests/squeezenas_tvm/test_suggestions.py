"""Every command line that a text of ours names is one that its command takes, whatever paths are in it."""

import ast
import importlib
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import squeezenas_tvm
from cost_models.errors import MissingEntry
from search.resolution import Resolution
from squeezenas_tvm import deploy, evaluate, networks, profile
from squeezenas_tvm.bundles.assemble import Manifest
from squeezenas_tvm.bundles.deploy import Deployed
from squeezenas_tvm.cli import COMMANDS, PROGRAM
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.training.command import about_data, commands_after_training
from targets import load_target

from .helpers import quick_target
from .suggestions import parsed, suggested

ROOT = Path(squeezenas_tvm.__file__).parent.parent
SOURCES = [
    path
    for package in ("targets", "cost_models", "search", "squeezenas_tvm")
    for path in (ROOT / package).rglob("*.py")
]
AWKWARD = "a folder; with 'words'"


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function of this name, and where it stands."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def options_of(command: str) -> set[str]:
    parser = ArgumentParser()
    importlib.import_module(f"squeezenas_tvm.{command}").add_arguments(parser)
    return {option for action in parser._actions for option in action.option_strings}


def test_every_suggestion_in_the_code_names_a_command_and_its_options() -> None:
    found = [(where, call) for where, call in calls("command_line") if isinstance(call.args[0], ast.Constant)]
    assert len(found) > 10
    for where, call in found:
        command, *words = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
        assert command in COMMANDS, where
        assert {word for word in words if str(word).startswith("--")} <= options_of(str(command)), where


def test_no_suggestion_is_spelled_by_hand() -> None:
    """Outside of examples in ``--help`` and of docstrings: paths would stand there unquoted."""
    wrong = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        spared = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLE":
                spared |= {id(part) for part in ast.walk(node)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            by_hand = (
                any(f"{PROGRAM} {name} " in text for name in COMMANDS) or "squeezenas_tvm.profile" in text
            )
            if by_hand and id(node) not in spared:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {text}")
    assert wrong == []


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_a_command_are_taken_by_it(name: str) -> None:
    example = importlib.import_module(f"squeezenas_tvm.{name}").EXAMPLE
    lines = suggested(example)
    assert len(lines) == len(example.replace("\\\n", " ").strip().splitlines())
    for line in lines:
        parsed(line)


def test_commands_after_a_training_have_its_data_and_its_size(tmp_path: Path) -> None:
    folder, spec = tmp_path / AWKWARD, f"camvid:{tmp_path / AWKWARD}"
    best = about_data(spec, {"train", "val", "test"}, (360, 480))
    evaluated, deployed = map(parsed, commands_after_training(folder / "architecture.yaml", best, folder))
    assert (evaluated.network, evaluated.data) == (str(folder / "architecture.yaml"), spec)
    assert evaluated.split == "test"
    assert (deployed.resolution, deployed.out) == ("360x480", folder / "bundle")
    assert deployed.target == "local-cpu"
    for target, named in (("jetson-xavier", "jetson-xavier"), ("ours", "ours.yaml")):
        best = about_data(spec, {"val"}, (360, 480), target)
        assert parsed(commands_after_training(Path("a.yaml"), best, folder)[1]).target == named


@pytest.mark.parametrize(
    ("size", "splits", "said"),
    [
        ((40, 9000), {"train", "val"}, ("64x8192", "val")),
        (None, {"train"}, ("HxW", "train")),
    ],
)
def test_commands_after_a_training_fit_unusual_data(
    size: tuple[int, int] | None, splits: set[str], said: tuple[str, str]
) -> None:
    commands = commands_after_training(Path("a.yaml"), about_data("synthetic", splits, size), Path("out"))
    evaluated, deployed = map(parsed, commands)
    assert (deployed.resolution, evaluated.split) == said


def test_commands_after_a_training_of_an_earlier_release_leave_room() -> None:
    evaluated, deployed = map(parsed, commands_after_training(Path("a.yaml"), {}, Path("out")))
    assert (evaluated.data, deployed.resolution) == ("KIND:PATH", "HxW")


@pytest.mark.parametrize("target", ["local-cpu", "jetson-xavier"])
def test_what_deploy_names_next_is_taken(target: str, tmp_path: Path) -> None:
    out = tmp_path / AWKWARD
    frame = {"name": "frame", "dtype": "uint8", "shape": [1, 64, 128, 3], "meaning": "frame"}
    classes = {"name": "classes", "dtype": "uint8", "shape": [1, 64, 128], "meaning": "class index"}
    known = {"name": "n", "target": target, "inputs": [frame], "outputs": [classes]}
    counts = {"tuned_kernels": 0, "default_kernels": 1, "untuned": False}
    manifest = Manifest(**{field.name: None for field in fields(Manifest)} | known | counts)  # type: ignore[arg-type]
    text = deploy._text(Deployed(out, manifest, Path("w")), load_target(target))
    given = [parsed(line) for line in suggested(text)]
    assert [one.bundle for one in given] == [out]
    if target != "local-cpu":
        assert (
            f"python '{AWKWARD.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}/run.py'"
            in text
        )


def test_choosing_networks_names_commands_for_the_same_folder_and_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = quick_target(tmp_path)
    folder = tmp_path / AWKWARD
    argv = ["--target", str(target), "--resolution", "64x128", "--choose-networks", "4", "--out", str(folder)]
    assert profile.main(argv) == 0
    deployed, fitted = map(parsed, suggested(capsys.readouterr().out))
    assert (deployed.target, deployed.resolution) == (str(target), "64x128")
    assert Path(deployed.architecture).is_relative_to(folder)
    assert Path(deployed.architecture).is_file()
    assert (fitted.target, fitted.out) == (str(target), folder)
    assert fitted.from_networks.is_file()


def test_a_target_of_ones_own_is_named_by_its_file(tmp_path: Path) -> None:
    target = load_target(quick_target(tmp_path))
    assert target.argument == str(tmp_path / "quick-cpu.yaml")
    assert load_target("jetson-xavier").argument == "jetson-xavier"
    (line,) = suggested(str(MissingEntry("conv #1", "quick-cpu")))
    assert parsed(line).target == "quick-cpu.yaml"


def test_networks_names_the_profile_that_is_missing(tmp_path: Path) -> None:
    class Nothing:
        target, basis, published = "quick-cpu", "sums", None

    row: dict[str, Any] = {"name": "n", "space": "squeezenas-small", "resolution": "64x128"}
    row |= {"gmacs": 1.0, "params": 1}
    text = networks._text([row | {"published": None}], Resolution(64, 128), Nothing(), AWKWARD)  # type: ignore[arg-type]
    (line,) = suggested(text)
    given = parsed(line)
    assert (given.target, given.space, given.resolution) == (AWKWARD, "squeezenas-small", "64x128")


def test_evaluate_names_how_to_make_a_bundle() -> None:
    parser = ArgumentParser()
    evaluate.add_arguments(parser)
    args = parser.parse_args([AWKWARD, "--data", "synthetic", "--target", "local-cpu"])
    with pytest.raises(UsageError) as refused:
        evaluate.execute(args)
    (line,) = suggested(str(refused.value))
    assert (parsed(line).architecture, parsed(line).target) == (AWKWARD, "local-cpu")


def test_evaluate_names_what_makes_a_bundle_of_a_file() -> None:
    parser = ArgumentParser()
    evaluate.add_arguments(parser)
    with pytest.raises(UsageError) as refused:
        evaluate.execute(parser.parse_args([f"{AWKWARD}.onnx", "--data", "synthetic"]))
    (line,) = suggested(str(refused.value))
    given = parsed(line)
    assert (given.architecture, given.target, given.end) == (f"{AWKWARD}.onnx", "local-cpu", "argmax")
    with pytest.raises(UsageError, match="holds weights, not the layers that use them; allowed"):
        evaluate.execute(parser.parse_args(["net.pth", "--data", "synthetic"]))
