"""Checkpoints of the first release: gone on with as if this one had written them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from search.errors import InvalidCheckpoint
from search.run import CHECKPOINT, run_search
from search.strategies.making import make_strategy, upgraded
from search.training.checkpoint import load_checkpoint, save_checkpoint

from ..helpers import ALONE, Log, problem, same, with_budget

OLD = {"logits": "theta", "resource_weight": "alpha"}


def as_of_the_first_release(state: dict[str, Any]) -> dict[str, Any]:
    """The logits were called theta, the weight alpha, there was one strategy, and no way of its choices."""
    own, new = state["search"], ("schema_version", "search", "choices")
    old = {name: value for name, value in (state | own).items() if name not in (*OLD, *new)}
    old |= {OLD[name]: own[name] for name in OLD}
    old["supernet"] = {
        f"theta.{name.removeprefix('logits.')}" if name.startswith("logits.") else name: value
        for name, value in own["supernet"].items()
    }
    fingerprint = {name: value for name, value in state["fingerprint"].items() if name != "strategy"}
    recipe = {OLD.get(name, name): value for name, value in fingerprint["recipe"].items()}
    old["fingerprint"] = fingerprint | {"recipe": recipe}
    old["rows"] = [{OLD.get(name, name): value for name, value in row.items()} for row in state["rows"]]
    return old


@pytest.mark.parametrize("stop_after", [2, 3])
def test_a_checkpoint_of_the_first_release_is_gone_on_with(stop_after: int, tmp_path: Path) -> None:
    wanted = with_budget(problem(remove_below=0.05), 0.6)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = run_search(wanted, whole, ALONE, resume=False, watch=(first := Log()))
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, parts, ALONE, resume=False, watch=(second := Log(stop_after)))
    state = load_checkpoint(parts / CHECKPOINT, wanted.fingerprint())
    save_checkpoint(parts / CHECKPOINT, as_of_the_first_release(state))
    with pytest.raises(InvalidCheckpoint, match="strategy was None, is 'gumbel'"):
        load_checkpoint(parts / CHECKPOINT, wanted.fingerprint())
    found = run_search(wanted, parts, ALONE, resume=True, watch=(third := Log()))
    assert second.steps + third.steps == first.steps
    assert found == expected
    assert (parts / "curves.csv").read_text() == (whole / "curves.csv").read_text()


def test_what_is_upgraded_is_what_would_be_written_now(tmp_path: Path) -> None:
    wanted = problem()
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, tmp_path, ALONE, resume=False, watch=Log(4))
    state = load_checkpoint(tmp_path / CHECKPOINT, wanted.fingerprint())
    del state["schema_version"]
    again = upgraded(as_of_the_first_release(state))
    assert again.keys() == state.keys() - {"choices"}  # the way of the choices was not kept then
    for name in ("fingerprint", "rows"):
        assert same(again[name], state[name]), name
    one, other = again["search"], state["search"]
    assert one.keys() == other.keys()
    for name in ("resource_weight", "candidates", "removed", "epoch", "batch"):
        assert same(one[name], other[name]), name
    assert one["supernet"].keys() == other["supernet"].keys()
    assert all(torch.equal(value, one["supernet"][name]) for name, value in other["supernet"].items())
    assert upgraded(state) is state


def test_a_checkpoint_of_another_strategy_is_left_alone(tmp_path: Path) -> None:
    wanted = problem(strategy="random")
    with pytest.raises(KeyboardInterrupt):
        run_search(wanted, tmp_path, ALONE, resume=False, watch=Log(1))
    state = load_checkpoint(tmp_path / CHECKPOINT, wanted.fingerprint())
    assert upgraded(state) is state
    assert make_strategy(wanted, ALONE, state["search"]).step == 1


def test_another_search_of_the_first_release_is_told_with_what_differs(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(problem(), tmp_path, ALONE, resume=False, watch=Log(1))
    state = load_checkpoint(tmp_path / CHECKPOINT, problem().fingerprint())
    save_checkpoint(tmp_path / CHECKPOINT, as_of_the_first_release(state))
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.resource_weight was 0\.1, is 0\.3"):
        run_search(problem(resource_weight=0.3), tmp_path, ALONE, resume=True, watch=Log())
