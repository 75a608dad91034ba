"""A profile of a space with many kernels: some are measured, the others predicted, and everybody says so."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.environment import environment
from cost_models.database.table import LatencyTable
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.design import Design
from cost_models.kernel_models.predictor import MANIFEST
from search.costs.kernel_table import space_kernels
from search.spaces.camera import segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm.networks import main as networks
from squeezenas_tvm.predict import main as predict
from squeezenas_tvm.profile import main
from squeezenas_tvm.report import main as report
from targets import load_target

from .helpers import SIZE, fill, refused_by
from .measuring import check_kept, results

SPACE = get_space("fasterseg-student")
COUNT = 40


@pytest.fixture(scope="module")
def design(quick: Path) -> Design:
    users = space_kernels(SPACE, SIZE, segmentation_head(19))
    always = {part.name for part in SPACE.parts(SIZE, segmentation_head(19)) if not part.slot}
    kernels = [kernel for kernel, names in users.items() if always.intersection(names)]
    return Design.of(users, kernels, environment(load_target(quick)))


@pytest.fixture(scope="module")
def filled(quick: Path, design: Design, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose store the first kernels of the design are measured; only to be copied."""
    folder = tmp_path_factory.mktemp("chosen")
    fill(folder, load_target(quick), design.order[:COUNT])
    return folder


@pytest.fixture
def no_blocks(monkeypatch: pytest.MonkeyPatch, no_hold_outs: None) -> None:
    """No block is timed whole, and the predictor is tried on the space's own kernels alone."""
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.sample_blocks", lambda *_, **__: [])


def arguments(quick: Path, folder: Path, *given: str) -> list[str]:
    what = ["--target", str(quick), "--space", "fasterseg-student", "--resolution", str(SIZE)]
    return [*what, "--out", str(folder), "--trials", "0", *given]


@pytest.mark.usefixtures("no_blocks")
def test_kernels_chosen_are_measured_and_tell_the_others(
    quick: Path, filled: Path, design: Design, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(filled, tmp_path / "chosen"))
    before = results(folder)
    assert main(arguments(quick, folder, "--kernels", str(COUNT), "--json")) == 0
    document = json.loads(capfd.readouterr().out)
    after = results(folder)
    check_kept(before, after)
    assert len(after["measurements"]) == len(before["measurements"])  # what was in the store is not repeated
    check_document(document, folder)
    assert main(arguments(quick, folder, "--kernels", str(COUNT + 2))) == 0
    check_text(capfd.readouterr().out)
    assert LatencyTable.load(folder).rows.keys() == {k.key for k in design.order[: COUNT + 2]}
    check_commands(quick, folder, capfd)
    check_report(folder)
    capfd.readouterr()
    check_without_predictor(quick, folder, capfd)


def check_document(document: dict[str, Any], folder: Path) -> None:
    chosen = document["chosen"]
    assert (chosen["total"], chosen["measured"], chosen["predicted"]) == (465, COUNT, 465 - COUNT)
    assert chosen["left_out"]["count"] == COUNT
    assert 0 < chosen["left_out"]["median"] < 1
    assert document["missing"] == []
    assert document["kernels"]["count"] == COUNT
    entries = [entry for row in document["blocks"] for entry in row.values()]
    predicted = [entry for entry in entries if entry["predicted_kernels"]]
    assert 0 < len(predicted) < len(entries)
    assert all(entry["low_ms"] < entry["median_ms"] < entry["high_ms"] for entry in predicted)
    assert all(entry["predicted_kernels"] == 0 for entry in document["fixed"].values())
    assert len(LatencyTable.load(folder).profiled[0].kernels) == 465


def check_text(said: str) -> None:
    assert said.startswith("Median latency in ms by position and candidate (~: some of its kernels are predi")
    assert f"{COUNT + 2} of 465 kernels measured, {463 - COUNT} predicted.\nLeft-out kernels: " in said
    assert "% inside their interval.\n" in said


def check_commands(quick: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What asks for latencies says which are predicted."""
    where = ["--target", str(quick), "--table", str(folder), "--resolution", str(SIZE), "--json"]
    assert predict(["fasterseg-student", *where]) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert network["sources"].keys() == {"measured", "predicted"}
    assert sum(network["sources"].values()) == pytest.approx(1)
    sources = {kernel["source"] for kernel in network["kernels"]}
    assert sources == {"measured", "predicted"}
    assert networks(["--space", "fasterseg-student", *where]) == 0
    (network,) = json.loads(capfd.readouterr().out)
    assert network["estimated_latency_ms"]["sources"].keys() == {"measured", "predicted"}


def check_report(folder: Path) -> None:
    assert report([str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{COUNT + 2} of 465 kernels measured." in page
    assert f"{463 - COUNT} kernels are predicted; ~: some kernels of an entry are." in page
    assert "<td>predicted</td>" in page
    assert "Left-out kernels: " in page


def check_without_predictor(quick: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / MANIFEST).unlink()
    argv = ["fasterseg-student", "--target", str(quick), "--table", str(folder), "--resolution", str(SIZE)]
    command = f"profile --target quick-cpu.yaml --space fasterseg-student --resolution {SIZE}"
    refused_by(predict, argv, f"not measured on quick-cpu; measure it with: squeezenas-tvm {command}", capfd)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--kernels", "0"], "argument --kernels: '0' is not a whole number of 1 or more"),
        (["--kernels", "x"], "argument --kernels: 'x' is not a whole number of 1 or more"),
        (
            ["--kernels", "5"],
            "--kernels 5: too few of the 465 kernels of fasterseg-student at 64x128; allowed: 27 or more",
        ),
        (["--kernels", "50", "--from-networks", "f.csv"], "--kernels 50 is not for --from-networks, which"),
        (["--kernels", "50", "--choose-networks", "8"], "--kernels 50 is not for --choose-networks, which"),
    ],
)
def test_wrong_choices_are_one_line(
    given: list[str], said: str, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused_by(main, arguments(quick, tmp_path / "out", *given), said, capfd)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("space", "given", "kernels"),
    [
        ("fasterseg-student", ["--effort", "quick"], 120),
        ("fasterseg-student", [], 240),
        ("fasterseg-student", ["--effort", "thorough"], 465),
        ("fasterseg-student", ["--trials", "3"], 465),
        ("fasterseg-student", ["--kernels", "999"], 465),
        ("small", ["--effort", "quick"], 160),
        ("small", ["--kernels", "100"], 100),
    ],
)
def test_efforts_choose_in_spaces_with_many_kernels_alone(
    space: str,
    given: list[str],
    kernels: int,
    quick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_blocks: None,
) -> None:
    asked: list[list[Kernel]] = []

    class Asked(Exception):
        pass

    def measure(target: object, wanted: Any, *_: object, **__: object) -> None:
        asked.append(list(wanted.kernels))
        raise Asked

    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.measure_kernels", measure)
    with pytest.raises(Asked):
        main(["--target", str(quick), "--space", space, "--resolution", "64x128", *given])
    assert len(asked[0]) == kernels
    every = list(space_kernels(get_space(space), SIZE, segmentation_head(19)))
    assert [kernel for kernel in every if kernel in asked[0]] == asked[0]


def test_sides_that_32_does_not_divide_are_filled_up() -> None:
    odd = space_kernels(SPACE, SIZE.parse("100x200"), segmentation_head(19))
    even = space_kernels(SPACE, SIZE.parse("128x224"), segmentation_head(19))
    assert len(odd) == len(even)
    assert len([kernel for kernel in odd if kernel not in even]) == 2
