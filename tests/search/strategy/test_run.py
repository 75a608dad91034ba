"""Whole searches: what they write, stopping and resuming, two processes, bad input."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search.architecture import load_architecture
from search.errors import FailedTraining, InvalidCheckpoint, InvalidData, InvalidSearch
from search.strategy.resource import ExpectedCosts
from search.strategy.run import CHECKPOINT, SearchTask, run_search
from search.training.checkpoint import load_checkpoint
from search.training.distributed import Ranks

from ..training.helpers import finished, torchrun
from .helpers import Log, task

ALONE = Ranks(0, 1, torch.device("cpu"))


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


@pytest.mark.parametrize("stop_after", [2, 3, 4])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stop_after: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    wanted = task(budget="0.9ms", draws="image", remove_below=0.05)
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
        frames=8,
        epochs=16,
        warmup_epochs=1,
        theta={"learning_rate": 0.1},
        draws="batch",
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


def test_two_processes_search_as_one(tmp_path: Path) -> None:
    """The same losses and expected latencies as one process with the whole batch, within rounding."""
    programme = tmp_path / "search_in_two.py"
    programme.write_text(_PROGRAMME)
    process = torchrun(2, str(programme), str(tmp_path / "two"), cwd=tmp_path)
    code, _, err = finished(process)
    assert code == 0, err
    alone = Log()
    wanted = task(batch_size=4, frames=8, draws="image", remove_below=0.02, weights={"learning_rate": 0.001})
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
from search.strategy.run import run_search
from search.training.distributed import Ranks
from search.spaces import SPACES
from tests.search.strategy.helpers import FIVE, Log, task

SPACES[FIVE.name] = FIVE

ranks, out, log = Ranks.start(), Path(sys.argv[1]), Log()
wanted = task(batch_size=4, frames=8, draws="image", remove_below=0.02, weights={{"learning_rate": 0.001}})
outcome = run_search(wanted, out, ranks, resume=False, watch=log)
if ranks.first:
    steps = [(now.loss, now.expected["latency"]) for now in log.steps]
    (out / "steps.json").write_text(json.dumps({{"steps": steps, "choices": outcome.choices}}))
ranks.close()
"""
