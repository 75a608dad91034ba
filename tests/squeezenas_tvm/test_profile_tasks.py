"""Profiles of networks that tell metres or key points: other last kernels than those of classes."""

import json
from pathlib import Path

import pytest

from cost_models.database.table import LatencyTable
from search.costs.kernel_table import space_kernels
from search.spaces.camera import HEADS, depth_head, pose_head, segmentation_head
from search.spaces.registry import get_space
from squeezenas_tvm.api.latencies import profile_space
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profile import main
from squeezenas_tvm.report import main as report
from targets import load_target

from .helpers import SIZE, fill, refused_by

NAME = "gas:cells=4,channels=8"
SPACE = get_space(NAME)


def arguments(quick: Path, folder: Path, *given: str) -> list[str]:
    what = ["--target", str(quick), "--space", NAME, "--resolution", str(SIZE)]
    return [*what, "--out", str(folder), "--trials", "0", *given]


@pytest.fixture
def no_blocks(monkeypatch: pytest.MonkeyPatch, no_hold_outs: None) -> None:
    monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.sample_blocks", lambda *_, **__: [])


@pytest.mark.usefixtures("no_blocks")
def test_each_task_has_the_kernels_of_its_head(
    quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = {"segmentation": segmentation_head(5), "depth": depth_head(), "pose": pose_head(14)}
    kernels = {task: space_kernels(SPACE, SIZE, head) for task, head in heads.items()}
    fill(tmp_path, load_target(quick), {kernel for users in kernels.values() for kernel in users})
    options = {
        "segmentation": ["--classes", "5"],
        "depth": ["--task", "depth"],
        "pose": ["--task", "pose", "--classes", "14"],
    }
    for task, given in options.items():
        assert main(arguments(quick, tmp_path, *given, "--json")) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["missing"], document["kernels"]["count"]) == ([], len(kernels[task]))
    table = LatencyTable.load(tmp_path)
    told = {one.task: one for one in table.profiled}
    assert {task: one.outputs for task, one in told.items()} == {"segmentation": 5, "depth": 1, "pose": 14}
    for task, users in kernels.items():
        assert {*told[task].kernels} == {kernel.key for kernel in users}
    stem = f"{SPACE.name}-{SIZE}"
    assert all(
        (tmp_path / name).exists() for name in (f"{stem}.json", f"{stem}-depth.json", f"{stem}-pose.json")
    )
    assert report([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for outputs in ("5 classes", "depth", "14 key points"):
        assert f"{SPACE.name} at {SIZE}, {outputs}" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--task", "deptth"],
            "--task: no task is deptth, did you mean depth?; allowed: segmentation, depth, pose",
        ),
        (["--task", "depth", "--classes", "5"], "--classes 5: depth tells metres, one output; leave it out"),
        (["--task", "pose", "--networks", "3"], "--networks: whole networks are of segmentation"),
        (
            ["--task", "pose", "--choose-networks", "12"],
            "--choose-networks: whole networks are of segmentation",
        ),
    ],
)
def test_what_does_not_fit_a_task_is_refused(
    quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    refused_by(main, arguments(quick, tmp_path, *given), said, capfd)


def test_the_api_knows_the_same_tasks(quick: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"task 'deptth': allowed: {', '.join(HEADS)}"):
        profile_space(SPACE, load_target(quick), tuple(SIZE), task="deptth", folder=tmp_path)
