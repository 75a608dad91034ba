"""Whole searches: what they write, stopping and resuming, bad input."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.architecture import load_architecture
from search.data.frames import Frame
from search.errors import FailedTraining, InvalidCheckpoint, InvalidData, InvalidSearch
from search.problem.strategy import Progress
from search.run import run_search

from .strategies.helpers import ALONE, Log, problem


def test_a_search_writes_its_curves_its_front_and_the_chosen_network(tmp_path: Path) -> None:
    log = Log()
    result = run_search(problem(), tmp_path, ALONE, resume=False, watch=log)
    assert [now.step for now in log.steps] == [1, 2, 3, 4, 5, 6]
    assert log.judgements == result.networks
    assert [now.values["temperature"] for now in log.steps][:: len(log.steps) - 1] == pytest.approx(
        [5.0, 1.0]
    )
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["expected_latency_ms"]) == pytest.approx(
        1e3 * result.summary["expected"]["latency"], rel=1e-5
    )
    chosen = load_architecture(tmp_path / "chosen.yaml")
    assert chosen.searched_for == problem().target
    assert tuple(chosen.blocks) == result.chosen.options
    assert result.chosen in result.front
    assert (tmp_path / "front.png").exists()
    assert list((tmp_path / "tensorboard").glob("events.*"))
    for position, names in zip(result.summary["choices"], problem().costs.candidates, strict=True):
        assert list(position) == list(names)
        assert sum(position.values()) == pytest.approx(1, abs=1e-5)


def test_a_budget_that_no_network_meets_is_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(InvalidSearch, match=r"the cheapest network of the space takes .* ms; the smallest"):
        run_search(problem(budget="0.001ms"), tmp_path / "out", ALONE, resume=False, watch=Log())
    assert not (tmp_path / "out").exists()


def test_another_recipe_or_space_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):  # where there is nothing to resume it begins
        run_search(problem(), tmp_path, ALONE, resume=True, watch=Log(1))
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.epochs was 2, is 3"):
        run_search(problem(epochs=3), tmp_path, ALONE, resume=True, watch=Log())


def test_too_few_frames_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="fewer than a batch"):
        run_search(problem(batch_size=8), tmp_path, ALONE, resume=False, watch=Log())


@dataclass(frozen=True)
class Grown:
    """A drawn frame, or one that is larger than any memory where ``switch`` is there."""

    frame: Frame
    switch: Path
    name: str = "grown"

    def load(self) -> Any:
        if self.switch.exists():
            return np.empty((1 << 24, 1 << 24, 3), np.uint8), np.empty((1 << 24, 1 << 24), np.uint8)
        return self.frame.load()

    def digest(self) -> bytes:
        return self.frame.digest()

    def faults(self, size: tuple[int, int], *, decode: bool) -> list[str]:
        return []


@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_keeps_the_last_checkpoint(tmp_path: Path, workers: int) -> None:
    class Switching(Log):
        def step(self, now: Progress) -> None:
            super().step(now)
            if now.epoch == 1:
                switch.touch()

    switch, out = tmp_path / "switch", tmp_path / "out"
    wanted = problem(epochs=4, workers=workers)
    frames = {name: tuple(Grown(f, switch) for f in split) for name, split in wanted.data.splits.items()}
    wanted = replace(wanted, data=replace(wanted.data, splits=frames))
    with pytest.raises(FailedTraining) as caught:
        run_search(wanted, out, ALONE, resume=False, watch=Switching())
    assert str(caught.value) == (
        "out of memory with 2 images of 64x64: set checkpointing: true in the recipe (--resume takes it); or "
        "lower batch_size or crop in the recipe, or train fewer paths (--paths 2), and start in another --out"
        f"; the last checkpoint is kept in {out}"
    )
    switch.unlink()
    run_search(wanted, out, ALONE, resume=True, watch=(log := Log()))
    assert log.steps[0].step in (4, 7)
    assert log.steps[-1].step == 12
