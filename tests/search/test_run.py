"""Whole searches: what they write, stopping and resuming, two processes, bad input."""

import csv
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.architecture import load_architecture
from search.data.frames import Frame
from search.errors import FailedTraining, InvalidCheckpoint, InvalidData, InvalidSearch
from search.parallel.ranks import Ranks
from search.run import CHECKPOINT, FREE, SearchTask, run_search
from search.strategies.gumbel.gumbel import Progress
from search.strategies.penalties.expected_costs import ExpectedCosts
from search.training.checkpoint import load_checkpoint

from .strategies.helpers import Log, task
from .training.helpers import finished, torchrun

ALONE = Ranks(0, 1, torch.device("cpu"))
SLOWLY = {"weights": {"learning_rate": 0.001}, "path_training": {"epochs": 1, "learning_rate": 0.001}}


def test_a_search_writes_its_curves_its_front_and_the_chosen_network(tmp_path: Path) -> None:
    log = Log()
    outcome = run_search(task(), tmp_path, ALONE, resume=False, watch=log)
    assert [now.step for now in log.steps] == list(range(6))
    assert log.judgements == outcome.networks
    assert [now.temperature for now in log.steps][:: len(log.steps) - 1] == pytest.approx([5.0, 1.0])
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["expected_latency"]) == pytest.approx(outcome.expected["latency"], rel=1e-5)
    chosen = load_architecture(tmp_path / "chosen.yaml")
    assert tuple(chosen.blocks) == outcome.chosen.blocks
    assert outcome.chosen in outcome.front
    assert (tmp_path / "front.png").exists()
    assert list((tmp_path / "tensorboard").glob("events.*"))
    for position, names in zip(outcome.choices, task().costs.candidates, strict=True):
        assert list(position) == list(names)
        assert sum(position.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("stop_after", [2, 3, 7])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stop_after: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    wanted = task(budget="0.9ms", draws="image", remove_below=0.05, path_training={"epochs": 1})
    budget = replace(wanted.budget, value=1.1 * sum(_range(wanted)) / 2)
    wanted = replace(wanted, budget=budget)
    first = Log()
    expected = run_search(wanted, whole, ALONE, resume=False, watch=first)
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, parts, ALONE, resume=False, watch=(second := Log(stop_after)))
    third = Log()
    outcome = run_search(wanted, parts, ALONE, resume=True, watch=third)
    assert second.steps + third.steps == first.steps
    assert outcome == expected
    ends = [load_checkpoint(out / CHECKPOINT, wanted.fingerprint())["supernet"] for out in (whole, parts)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def _range(wanted: SearchTask) -> tuple[float, float]:
    return ExpectedCosts(wanted.costs, ("latency",)).range("latency")


def test_the_budget_is_met_within_three_percent(tmp_path: Path) -> None:
    wanted = task(
        budget="1ms",
        frames=16,
        epochs=6,
        warmup_epochs=1,
        theta={"learning_rate": 0.2},
        draws="batch",
        paths=2,
        judging={"networks": 2, "frames": 1, "calibration_batches": 0},
    )
    least, most = _range(wanted)
    for share in (0.35, 0.6):
        budget = replace(wanted.budget, value=least + share * (most - least))
        outcome = run_search(
            replace(wanted, budget=budget), tmp_path / str(share), ALONE, resume=False, watch=Log()
        )
        assert outcome.expected["latency"] == pytest.approx(budget.value, rel=0.03)


def test_weights_and_theta_can_take_turns(tmp_path: Path) -> None:
    log = Log()
    wanted = task(frames=8, update="alternately", draws="batch", paths=2)
    run_search(wanted, tmp_path, ALONE, resume=False, watch=log)
    assert len(log.steps) == 2 * (8 // 2) // 2
    assert log.steps[-1].entropy < 1


def test_paths_learn_after_the_search_and_may_be_asked_for_afterwards(tmp_path: Path) -> None:
    searched = run_search(task(), tmp_path, ALONE, resume=False, watch=Log())
    log = Log()
    outcome = run_search(task(path_training={"epochs": 2}), tmp_path, ALONE, resume=True, watch=log)
    assert [now.epoch for now in log.steps] == [2, 2, 2, 3, 3, 3]
    assert {now.temperature for now in log.steps} == {1.0}
    assert outcome.choices == searched.choices  # theta stays
    assert outcome.expected == searched.expected
    assert [one.blocks for one in outcome.networks] == [one.blocks for one in searched.networks]
    assert [one.miou for one in outcome.networks] != [one.miou for one in searched.networks]  # judged anew


def test_a_step_of_a_path_changes_one_candidate_a_position(tmp_path: Path) -> None:
    """And momentum of earlier steps moves no other."""
    run_search(task(), tmp_path, ALONE, resume=False, watch=Log())
    wanted = task(path_training={"epochs": 1})
    before = load_checkpoint(tmp_path / CHECKPOINT, wanted.fingerprint(), free=FREE)["supernet"]
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, tmp_path, ALONE, resume=True, watch=Log(1))
    after = load_checkpoint(tmp_path / CHECKPOINT, wanted.fingerprint())["supernet"]
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    for position in range(len(wanted.space.positions)):
        candidates = {name.split(".")[2] for name in moved if name.startswith(f"blocks.{position}.")}
        assert len(candidates) <= 1, (position, candidates)


def test_a_given_alpha_makes_the_network_cheaper(tmp_path: Path) -> None:
    ends = []
    for alpha in (0.0, 30.0):
        log = Log()
        wanted = task(alpha=alpha, draws="batch", theta={"learning_rate": 0.2})
        run_search(wanted, tmp_path / str(alpha), ALONE, resume=False, watch=log)
        ends.append(log.steps[-1].expected["latency"] - _range(wanted)[0])  # above the cheapest network
    assert ends[1] < 0.9 * ends[0]


def test_a_budget_that_no_network_meets_is_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(InvalidSearch, match=r"the cheapest network of the space takes .* ms; the smallest"):
        run_search(task(budget="0.001ms"), tmp_path / "out", ALONE, resume=False, watch=Log())
    assert not (tmp_path / "out").exists()


def test_no_finite_loss_ends_it_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    wanted = task(weights={"learning_rate": 1e18}, draws="batch", epochs=6)
    with pytest.raises(FailedTraining, match=r"the loss is (nan|inf) in epoch \d+, step \d+"):
        run_search(wanted, tmp_path, ALONE, resume=False, watch=Log())


def test_another_recipe_or_space_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="nothing to resume"):
        run_search(task(), tmp_path, ALONE, resume=True, watch=Log())
    with pytest.raises(KeyboardInterrupt):
        run_search(task(), tmp_path, ALONE, resume=False, watch=Log(1))
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.epochs was 2, is 3"):
        run_search(task(epochs=3), tmp_path, ALONE, resume=True, watch=Log())


def test_too_few_frames_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="fewer than a batch"):
        run_search(task(batch_size=8), tmp_path, ALONE, resume=False, watch=Log())


def test_how_it_is_computed_may_change_on_the_way(tmp_path: Path) -> None:
    whole = Log()
    run_search(task(), tmp_path / "whole", ALONE, resume=False, watch=whole)
    with pytest.raises(KeyboardInterrupt):
        run_search(task(), tmp_path / "parts", ALONE, resume=False, watch=(first := Log(3)))
    other = task(workers=1, checkpointing=True, compile=shutil.which("g++") is not None)
    second = Log()
    run_search(other, tmp_path / "parts", ALONE, resume=True, watch=second)
    assert first.steps == whole.steps[:3]
    for now, then in zip(second.steps, whole.steps[3:], strict=True):
        assert now.loss == pytest.approx(then.loss, rel=1e-2)
        assert now.expected["latency"] == pytest.approx(then.expected["latency"], rel=1e-2)


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
    wanted = task(epochs=4, workers=workers)
    frames = {name: tuple(Grown(f, switch) for f in split) for name, split in wanted.data.splits.items()}
    wanted = replace(wanted, data=replace(wanted.data, splits=frames))
    with pytest.raises(FailedTraining) as caught:
        run_search(wanted, out, ALONE, resume=False, watch=Switching())
    assert str(caught.value) == (
        "out of memory with 2 images of 64x64: set checkpointing: true in the recipe (--resume takes it); or "
        "lower batch_size or crop in the recipe, or train fewer paths (--paths 2), and start anew in another "
        "--out; the last checkpoint, if any, is kept"
    )
    switch.unlink()
    run_search(wanted, out, ALONE, resume=True, watch=(log := Log()))
    assert log.steps[0].step in (3, 6)
    assert log.steps[-1].step == 11


def test_two_processes_search_as_one(tmp_path: Path) -> None:
    """The same losses and expected latencies as one process with the whole batch, within rounding."""
    programme = tmp_path / "search_in_two.py"
    programme.write_text(_PROGRAMME)
    process = torchrun(2, str(programme), str(tmp_path / "two"), cwd=tmp_path)
    code, _, err = finished(process)
    assert code == 0, err
    alone = Log()
    wanted = task(batch_size=4, frames=8, draws="image", remove_below=0.02, **SLOWLY)
    outcome = run_search(wanted, tmp_path / "one", ALONE, resume=False, watch=alone)
    told = json.loads((tmp_path / "two" / "steps.json").read_text())
    assert len(told["steps"]) == len(alone.steps)
    assert math.isclose(told["steps"][0][0], alone.steps[0].loss, rel_tol=1e-5)
    for (loss, latency), now in zip(told["steps"], alone.steps, strict=True):
        assert math.isclose(loss, now.loss, rel_tol=2e-3)
        assert math.isclose(latency, now.expected["latency"], rel_tol=1e-3)
    for position, alone_position in zip(told["choices"], outcome.choices, strict=True):
        assert position == pytest.approx(alone_position, abs=0.01)


_PROGRAMME = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from search.run import run_search
from search.parallel.ranks import Ranks
from search.spaces.registry import SPACES
from tests.search.strategies.helpers import FIVE, Log, task

SPACES[FIVE.name] = FIVE

ranks, out, log = Ranks.start(), Path(sys.argv[1]), Log()
wanted = task(batch_size=4, frames=8, draws="image", remove_below=0.02, **{SLOWLY})
outcome = run_search(wanted, out, ranks, resume=False, watch=log)
if ranks.first:
    steps = [(now.loss, now.expected["latency"]) for now in log.steps]
    (out / "steps.json").write_text(json.dumps({{"steps": steps, "choices": outcome.choices}}))
ranks.close()
"""
