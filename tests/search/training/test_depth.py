"""Training for depth: it learns, goes on where it was, and from a teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search.architecture import Architecture
from search.data import Data, open_data
from search.errors import FailedTraining, InvalidData, InvalidRecipe
from search.networks.network import build_network
from search.training.recipe import list_recipes, load_recipe
from search.training.run import TrainingRun, same_outputs
from search.training.teacher import Teacher

from ..strategies.helpers import Drawn
from .helpers import ALONE, ARCHITECTURE, equal, recipe, rows_of, state_of, stop_after


@pytest.fixture(scope="module")
def rooms() -> Data:
    data = open_data("synthetic:6:64x64", "depth")
    return replace(data, splits={name: tuple(map(Drawn, own)) for name, own in data.splits.items()})


@pytest.fixture(scope="module")
def architecture(rooms: Data) -> Architecture:
    return ARCHITECTURE.for_data(rooms)


def run_of(architecture: Architecture, out: Path, data: Data, **changes: object) -> TrainingRun:
    out.mkdir(exist_ok=True)
    return TrainingRun(architecture, recipe(kind="depth", **changes), [data], out, ALONE)


def test_errors_fall(architecture: Architecture, rooms: Data, tmp_path: Path) -> None:
    run_of(architecture, tmp_path, rooms, epochs=8, evaluate_every=7, optimizer={"learning_rate": 0.05}).run()
    rows = rows_of(tmp_path)
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    assert float(rows[-1]["rmse_m"]) > 0
    assert 0 <= float(rows[-1]["within_1.25_percent"]) <= 100
    assert rows[0]["rmse_m"] == ""  # not evaluated


def test_stopped_and_resumed_equals_uninterrupted(
    architecture: Architecture, rooms: Data, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = run_of(architecture, whole, rooms)
    best = expected.run()
    with pytest.raises(KeyboardInterrupt):
        run_of(architecture, parts, rooms).run(stop_after(2))
    rest = run_of(architecture, parts, rooms)
    rest.resume()
    assert rest.run() == best
    assert equal(state_of(rest, parts), state_of(expected, whole))


def test_a_teacher_of_metres(architecture: Architecture, rooms: Data, tmp_path: Path) -> None:
    torch.manual_seed(1)
    teacher = Teacher(architecture, build_network(architecture), "0" * 64)
    run = TrainingRun(architecture, recipe(kind="depth"), [rooms], tmp_path, ALONE, teacher=teacher)
    run.run()
    assert all(float(row["distillation"]) > 0 for row in rows_of(tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": {"kind": "ohem"}}, r"loss\.kind: found 'ohem'; allowed for depth: berhu, l1"),
        (
            {"distillation": {"temperature": 2.0}},
            r"distillation\.temperature: found 2; allowed for depth: 1,",
        ),
        ({"loss": {"kind": "berhu", "share": 0}}, r"loss\.share: found 0"),
    ],
)
def test_recipes_that_do_not_fit(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        recipe(kind="depth", **changes)


def test_a_recipe_is_for_one_task() -> None:
    one, other = recipe().stages[0], recipe(kind="depth", name="other").stages[0]
    described = {**recipe().model_dump(), "stages": [own.model_dump() for own in (one, other)]}
    with pytest.raises(ValueError, match="found the kinds segmentation, depth; allowed: one task"):
        type(recipe()).model_validate(described)
    assert recipe(kind="depth").task == "depth"
    assert recipe(kind="depth").training[0].loss.kind == "berhu"
    tasks = {name: load_recipe(name).task for name in list_recipes()}
    assert (tasks["camvid"], tasks["depth-small"]) == ("segmentation", "depth")


def test_labels_are_no_metres(rooms: Data, scenes: Data, tmp_path: Path) -> None:
    with pytest.raises(FailedTraining, match=r"labelled with torch\.int64 .*; allowed for depth: metres"):
        run_of(ARCHITECTURE.for_data(rooms), tmp_path, scenes).run()
    with pytest.raises(InvalidData, match="the stages need data of the same classes"):
        same_outputs([rooms, scenes])


def test_nothing_measured_teaches_nothing(rooms: Data) -> None:
    with pytest.raises(InvalidData, match=r"not one pixel of the 1 train frames has a depth, all are 0"):
        replace(rooms, splits={"train": (Unmeasured(rooms.splits["train"][0]),)}).check_labelled("train")


class Unmeasured(Drawn):
    """A frame of which nobody says how far it is."""

    def load(self):  # type: ignore[no-untyped-def]
        image, depth = super().load()
        return image, 0 * depth
