"""A task of one's own: a head in `HEADS`, a member of `TASKS`; it searches, trains and compiles."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation
from search.architecture import parse_architecture
from search.data.frames import Data, Frames
from search.data.truth import ClassIndices
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.run import run_search
from search.spaces.camera import HEADS
from search.spaces.space import Head
from search.tasks.registry import TASKS
from search.tasks.task import Loss, nearest
from search.training.run import TrainingRun

from ..spaces.toy_space import TOY
from ..strategies.helpers import ALONE, TRAINING, Log, costs_of, drawn_data, problem
from ..training.helpers import recipe

NAME = "relief"


def relief_head(outputs: int) -> Head:
    """One map of heights, deployed as they are from 0 up; the classes have no say."""
    net = GraphBuilder()
    return Head(1, net.build(net.add("height", Activation("relu"), "x")))


class Error:
    """Mean distance of heights."""

    def __init__(self) -> None:
        self._sums = np.zeros(2)

    def add(self, predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
        self._sums += (np.abs(predicted - truth / 19).sum(), truth.size)

    def merge(self, ranks: Ranks) -> None:
        self._sums = ranks.sum(torch.from_numpy(self._sums)).numpy()

    def scores(self) -> dict[str, float | None]:
        return {"mean_error": self._sums[0] / self._sums[1]}

    def details(self) -> dict[str, dict[str, float | None]]:
        return {}


class Relief:
    """As if the number of a class were a height."""

    name, columns, primary, title, unit = NAME, ("mean_error",), "mean_error", "closeness", ""

    def head(self, data: Data) -> Head:
        return relief_head(data.num_classes)

    def loss(self, settings: Any, frames: Frames, outputs: int, ranks: Ranks) -> Loss:
        assert outputs == 1
        return lambda last, truth: functional.l1_loss(last[:, 0], truth / 19)

    def distance(self, last: Tensor, taught: Tensor, temperature: float) -> Tensor:
        return functional.l1_loss(last, taught)

    def truth_at(self, truth: Tensor, size: tuple[int, int]) -> Tensor:
        return nearest(truth, size)

    def predict(self, last: Tensor, size: tuple[int, int]) -> Tensor:
        return functional.interpolate(last, size=size).relu()[:, 0]

    def meter(self, data: Data) -> Error:
        return Error()

    def reward(self, scores: Mapping[str, float | None]) -> float:
        return 1 / (1 + (scores["mean_error"] or 0))

    def score_of(self, reward: float) -> float:
        return 1 / reward - 1

    def shown(self, reward: float) -> str:
        return f"{self.title} {reward:.2f}"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, NAME, relief_head)  # type: ignore[arg-type]
    monkeypatch.setitem(TASKS, NAME, Relief())


def relief_problem() -> SearchProblem:
    found = problem(strategy="random", space=TOY, scoring=TRAINING, candidates=2)
    data = replace(found.data, truth=ClassIndices(task=NAME))
    return replace(found, task=TASKS[NAME], data=data, costs=costs_of(TOY, 1))


def test_a_search_for_it(tmp_path: Path) -> None:
    found = run_search(relief_problem(), tmp_path, ALONE, resume=False, watch=Log())
    chosen = parse_architecture((tmp_path / "chosen.yaml").read_text(), "chosen.yaml")
    assert (chosen.task, chosen.head.outputs) == (NAME, 1)
    assert 0 < found.chosen.score < 1
    graph = chosen.camera_network()
    assert graph.shapes({"frame": (1, 64, 64, 3)})[graph.outputs[0]] == (1, 1, 64, 64)


def test_training_for_it_lowers_its_loss(tmp_path: Path) -> None:
    choices = "{branch: wide, deep.kernel: k3, tail: w8}"
    text = f"space: toy\nchoices: {choices}\ntask: {NAME}\nclasses: cityscapes\n"
    architecture = parse_architecture(text, "own.yaml")
    run = TrainingRun(architecture, recipe(ema_decay=None, epochs=12), [drawn_data()], tmp_path, ALONE)
    run.run()
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert all(float(row["mean_error"]) >= 0 for row in rows)
    losses = [float(row["loss"]) for row in rows]
    assert min(losses) < 0.8 * losses[0]
