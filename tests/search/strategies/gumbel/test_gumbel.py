"""Searches by Gumbel-softmax: budgets, turns of weights and logits, paths, pruning, two processes."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from search.errors import FailedTraining, InvalidCheckpoint
from search.run import CHECKPOINT, run_search
from search.strategies.registry import STRATEGIES
from search.training.checkpoint import load_checkpoint

from ...training.helpers import finished, torchrun
from ..helpers import ALONE, Log, problem, with_budget

FREE = STRATEGIES["gumbel"].free
SLOWLY = {"weights": {"learning_rate": 0.001}, "path_training": {"epochs": 1, "learning_rate": 0.001}}


@pytest.mark.parametrize("stop_after", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 7))])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stop_after: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    wanted = problem(draws="image", remove_below=0.05, path_training={"epochs": 1})
    wanted = with_budget(wanted, 0.6)
    first = Log()
    expected = run_search(wanted, whole, ALONE, resume=False, watch=first)
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, parts, ALONE, resume=False, watch=(second := Log(stop_after)))
    third = Log()
    result = run_search(wanted, parts, ALONE, resume=True, watch=third)
    assert second.steps + third.steps == first.steps
    assert result == expected
    ends = [
        load_checkpoint(out / CHECKPOINT, wanted.fingerprint())["search"]["supernet"]
        for out in (whole, parts)
    ]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_the_budget_is_met_within_three_percent(tmp_path: Path) -> None:
    wanted = problem(
        frames=16,
        epochs=6,
        warmup_epochs=1,
        logits={"learning_rate": 0.2},
        draws="batch",
        paths=2,
        judging={"networks": 2, "frames": 1, "calibration_batches": 0},
    )
    for share in (0.35, 0.6):
        limited = with_budget(wanted, share)
        result = run_search(limited, tmp_path / str(share), ALONE, resume=False, watch=Log())
        assert limited.budget is not None
        assert result.summary["expected"]["latency"] == pytest.approx(limited.budget.value, rel=0.03)


def test_weights_and_logits_can_take_turns(tmp_path: Path) -> None:
    log = Log()
    wanted = problem(frames=8, update="alternately", draws="batch", paths=2)
    run_search(wanted, tmp_path, ALONE, resume=False, watch=log)
    assert len(log.steps) == 2 * (8 // 2) // 2
    assert log.steps[-1].values["entropy"] < 1


def test_paths_learn_after_the_search_and_may_be_asked_for_afterwards(tmp_path: Path) -> None:
    searched = run_search(problem(), tmp_path, ALONE, resume=False, watch=Log())
    log = Log()
    result = run_search(problem(path_training={"epochs": 2}), tmp_path, ALONE, resume=True, watch=log)
    assert [now.epoch for now in log.steps] == [2, 2, 2, 3, 3, 3]
    assert {now.values["temperature"] for now in log.steps} == {1.0}
    assert result.summary["choices"] == searched.summary["choices"]  # the logits stay
    assert result.summary["expected"] == searched.summary["expected"]
    assert [one.options for one in result.networks] == [one.options for one in searched.networks]
    assert [one.score for one in result.networks] != [one.score for one in searched.networks]  # judged anew


def test_paths_that_learn_already_learn_on_as_they_began(tmp_path: Path) -> None:
    """The learning rate of what is done hangs on how many epochs there are."""
    with pytest.raises(KeyboardInterrupt):
        run_search(problem(path_training={"epochs": 1}), tmp_path, ALONE, resume=False, watch=Log(7))
    longer = problem(path_training={"epochs": 2})
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.path_training\.epochs was 1, is 2"):
        run_search(longer, tmp_path, ALONE, resume=True, watch=Log())


def test_more_networks_may_be_judged_afterwards(tmp_path: Path) -> None:
    few = run_search(problem(), tmp_path, ALONE, resume=False, watch=Log())
    judging = {"networks": 5, "frames": 2, "calibration_batches": 1}
    many = run_search(problem(judging=judging), tmp_path, ALONE, resume=True, watch=(log := Log()))
    assert log.steps == []
    assert (len(few.networks), len(many.networks)) == (3, 5)


def test_a_step_of_a_path_changes_one_candidate_a_position(tmp_path: Path) -> None:
    """And momentum of earlier steps moves no other."""
    run_search(problem(), tmp_path, ALONE, resume=False, watch=Log())
    wanted = problem(path_training={"epochs": 1})
    before = load_checkpoint(tmp_path / CHECKPOINT, wanted.fingerprint(), free=STRATEGIES["gumbel"].free)
    before = before["search"]["supernet"]
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, tmp_path, ALONE, resume=True, watch=Log(1))
    after = load_checkpoint(tmp_path / CHECKPOINT, wanted.fingerprint())["search"]["supernet"]
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    for position in range(len(wanted.space.positions)):
        candidates = {name.split(".")[2] for name in moved if name.startswith(f"blocks.{position}.")}
        assert len(candidates) <= 1, (position, candidates)


def test_a_given_weight_makes_the_network_cheaper(tmp_path: Path) -> None:
    ends = []
    for weight in (0.0, 30.0):
        log = Log()
        wanted = problem(resource_weight=weight, draws="batch", logits={"learning_rate": 0.2})
        run_search(wanted, tmp_path / str(weight), ALONE, resume=False, watch=log)
        ends.append(
            log.steps[-1].expected["latency"] - wanted.costs.range("latency")[0]
        )  # above the cheapest network
    assert ends[1] < 0.9 * ends[0]  # above the cheapest network


def test_no_finite_loss_ends_it_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    wanted = problem(weights={"learning_rate": 1e18}, draws="batch", epochs=6)
    with pytest.raises(FailedTraining, match=r"the loss is (nan|inf) in epoch \d+, step \d+"):
        run_search(wanted, tmp_path, ALONE, resume=False, watch=Log())


def test_how_it_is_computed_may_change_on_the_way(tmp_path: Path) -> None:
    whole = Log()
    run_search(problem(), tmp_path / "whole", ALONE, resume=False, watch=whole)
    with pytest.raises(KeyboardInterrupt):
        run_search(problem(), tmp_path / "parts", ALONE, resume=False, watch=(first := Log(3)))
    other = problem(workers=1, checkpointing=True, compile=shutil.which("g++") is not None)
    second = Log()
    run_search(other, tmp_path / "parts", ALONE, resume=True, watch=second)
    assert first.steps == whole.steps[:3]
    for now, then in zip(second.steps, whole.steps[3:], strict=True):
        assert now.values["loss"] == pytest.approx(then.values["loss"], rel=1e-2)
        assert now.expected["latency"] == pytest.approx(then.expected["latency"], rel=1e-2)


def test_two_processes_search_as_one(tmp_path: Path) -> None:
    """The same losses and expected latencies as one process with the whole batch, within rounding."""
    programme = tmp_path / "search_in_two.py"
    programme.write_text(_PROGRAMME)
    process = torchrun(2, str(programme), str(tmp_path / "two"), cwd=tmp_path)
    code, _, err = finished(process)
    assert code == 0, err
    alone = Log()
    wanted = problem(batch_size=4, frames=8, draws="image", remove_below=0.02, **SLOWLY)
    result = run_search(wanted, tmp_path / "one", ALONE, resume=False, watch=alone)
    told = json.loads((tmp_path / "two" / "steps.json").read_text())
    assert len(told["steps"]) == len(alone.steps)
    assert math.isclose(told["steps"][0][0], alone.steps[0].values["loss"], rel_tol=1e-5)
    for (loss, latency), now in zip(told["steps"], alone.steps, strict=True):
        assert math.isclose(loss, now.values["loss"], rel_tol=2e-3)
        assert math.isclose(latency, now.expected["latency"], rel_tol=1e-3)
    for position, alone_position in zip(told["choices"], result.summary["choices"], strict=True):
        assert position == pytest.approx(alone_position, abs=0.01)


_PROGRAMME = f"""
import json, sys
from pathlib import Path
from search.parallel.ranks import Ranks
from search.run import run_search
from search.spaces.registry import SPACES
from tests.search.strategies.helpers import FIVE, Log, problem

SPACES[FIVE.name] = FIVE

ranks, out, log = Ranks.start(), Path(sys.argv[1]), Log()
wanted = problem(batch_size=4, frames=8, draws="image", remove_below=0.02, **{SLOWLY})
result = run_search(wanted, out, ranks, resume=False, watch=log)
if ranks.first:
    steps = [(now.values["loss"], now.expected["latency"]) for now in log.steps]
    (out / "steps.json").write_text(json.dumps({{"steps": steps, "choices": result.summary["choices"]}}))
ranks.close()
"""
