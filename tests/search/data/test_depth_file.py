"""Sets of a user's own with depth, and which sets serve which task."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from search.data import Data, open_data
from search.data.dataset_file import FILES
from search.data.datasets import IN_FOLDERS, SERVES
from search.data.depth_file import DepthFile
from search.data.synthetic import FRAMES
from search.errors import InvalidData
from search.spaces.camera import HEADS
from search.tasks.loss_settings import LOSSES
from search.tasks.registry import TASKS
from search.tasks.words import WORDS
from squeezenas_tvm.evaluation.counting import COUNTING
from targets.support.strict_yaml import parse_yaml

from .packagings import noise, three_classes, write

SIZE = (12, 16)
DESCRIBED = {
    "schema_version": 1,
    "name": "rooms",
    "task": "depth",
    "metres_per_step": 0.002,
    "splits": {split: {"images": f"rgb/{split}", "labels": f"depth/{split}"} for split in ("train", "val")},
}


def rooms(folder: Path, **changes: object) -> str:
    for split, count in (("train", 3), ("val", 1)):
        for index in range(count):
            write(folder / "rgb" / split / f"{index}.jpg", noise(index, SIZE))
            depth = folder / "depth" / split / f"{index}.png"
            depth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(SIZE, 1000 + index, np.uint16)).save(depth)
    (folder / "dataset.yaml").write_text(yaml.safe_dump({**DESCRIBED, **changes}))
    return f"folder:{folder}"


def test_steps_become_metres(tmp_path: Path) -> None:
    data = open_data(rooms(tmp_path), "depth")
    data.check()
    data.check_labelled("train", "val")
    assert (data.described, data.tells, data.frame_size) == ("rooms, depth", ["metres"], SIZE)
    assert np.unique(data.frames("train")[2][1]).tolist() == [np.float32(2.004)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "dept"}, "task: found 'dept', did you mean depth?; allowed: segmentation, depth"),
        ({"task": 7}, "task: found 7; allowed: segmentation, depth"),
        ({"metres_per_step": 0}, "metres_per_step: found 0; allowed: greater than 0"),
        ({"metres_per_step": None}, "metres_per_step: found None"),
        (
            {"classes": []},
            "classes: unknown key; allowed: schema_version, name, task, metres_per_step, splits",
        ),
        ({"name": "synthetic"}, "name: found 'synthetic', which another data set is called"),
        ({"splits": {"train": {"images": "rgb/train"}}}, "splits.train: labels: missing"),
    ],
)
def test_all_that_is_wrong_is_said(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=re.escape(said)):
        open_data(rooms(tmp_path, **changes))


def test_the_example_of_the_documentation_is_one() -> None:
    document = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    (example,) = [
        text for text in re.findall(r"```text\n(.*?)```", document, re.DOTALL) if "task: depth" in text
    ]
    described = parse_yaml(example, "example", DepthFile, InvalidData)
    assert described.metres_per_step == 0.001
    assert set(described.splits.named()) == {"train", "val"}


def test_a_set_serves_what_it_is_labelled_with(tmp_path: Path) -> None:
    depth, classes = rooms(tmp_path / "depth"), f"folder:{three_classes(tmp_path / 'classes')}"
    assert open_data(depth).task == "depth"
    assert open_data(classes, "segmentation").task == "segmentation"
    for spec, other, own in ((depth, "segmentation", "depth"), (classes, "depth", "segmentation")):
        with pytest.raises(
            InvalidData, match=rf"is for {own}, not for {other}; allowed: .*folder:FOLDER whose"
        ):
            open_data(spec, other)
    with pytest.raises(
        InvalidData, match=r"cityscapes:\S+ is for segmentation, not for depth; allowed: nyudv2:"
    ):
        open_data(f"cityscapes:{tmp_path}", "depth")
    with pytest.raises(InvalidData, match="is for segmentation and depth and pose, not for flow"):
        open_data("synthetic:2:64x64", "flow")


def test_sets_for_one_task_are_joined(tmp_path: Path) -> None:
    together = open_data(f"{rooms(tmp_path / 'one')}+{rooms(tmp_path / 'two', name='more')}")
    assert (together.task, together.name) == ("depth", "rooms+more")
    assert [len(together.frames(split)) for split in ("train", "val")] == [6, 1]


def test_sets_for_two_tasks_are_not(tmp_path: Path) -> None:
    classes = f"folder:{three_classes(tmp_path / 'classes')}"
    with pytest.raises(InvalidData, match=r"is for depth, not for segmentation"):
        open_data(f"{classes}+{rooms(tmp_path / 'depth')}")


def test_every_place_that_asks_knows_every_task() -> None:
    assert set(TASKS) == set(HEADS) == set(LOSSES) == set(WORDS) == set(COUNTING)
    served = {task for tasks in SERVES.values() for task in tasks}
    assert served == set(TASKS) == set(FILES) == set(FRAMES)
    assert set(SERVES) <= {*IN_FOLDERS, "synthetic"}
    for name, task in TASKS.items():
        words = WORDS[name]
        assert (task.name, task.columns) == (name, tuple(column.name for column in words.columns))
        assert (task.primary, task.title, task.unit) == (
            words.primary.name,
            words.primary.title,
            words.primary.unit,
        )
        assert task.score_of(0.25) == words.of_reward(0.25)
        drawn: Data = open_data("synthetic:1:64x64", name)
        assert task.head(drawn).outputs == len(drawn.tells)
        assert drawn.truth.counts(drawn.frames("train")[0][1])
