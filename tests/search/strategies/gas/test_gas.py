"""Searches after GAS: messages, turns of weights and logits, budgets, two processes, what is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.architecture import load_architecture
from search.errors import FailedTraining, InvalidCheckpoint, InvalidRecipe, InvalidSearch
from search.parallel.sync_batch_norm import convert_batch_norm
from search.problem.problem import SearchProblem
from search.results.document import load
from search.run import CHECKPOINT, run_search
from search.strategies.gas.gas import GasSearch
from search.strategies.making import make_strategy
from search.supernet.gas import fused
from search.training.checkpoint import load_checkpoint

from ...training.helpers import equal, finished, torchrun
from ..helpers import ALONE, CELLS, FIVE, TRAINING, Log, problem, with_budget


def gas(**changes: Any) -> SearchProblem:
    return problem(strategy="gas", space=CELLS, **changes)


SLOWER = {"learning_rate": 0.05}


def made(wanted: SearchProblem | None = None, **changes: Any) -> GasSearch:
    """Before its first step."""
    torch.manual_seed(0)
    strategy = make_strategy(wanted or gas(**changes), ALONE, None)
    assert isinstance(strategy, GasSearch)
    return strategy


def test_stopped_and_resumed_every_tensor_is_the_same(tmp_path: Path) -> None:
    """Weights, statistics, logits, messages, optimizers, beta."""
    wanted = with_budget(gas(sends="received"), 0.5)
    run_search(wanted, tmp_path / "whole", ALONE, resume=False, watch=Log())
    for stop in (2, 2):
        with pytest.raises(KeyboardInterrupt):
            run_search(wanted, tmp_path / "parts", ALONE, resume=True, watch=Log(stop))
    run_search(wanted, tmp_path / "parts", ALONE, resume=True, watch=Log())
    states = [
        load_checkpoint(tmp_path / name / CHECKPOINT, wanted.fingerprint())["search"]
        for name in ("whole", "parts")
    ]
    assert equal(*states)
    assert states[0]["messages"]


def test_weights_learn_alone_at_first_and_then_all_in_the_same_round() -> None:
    search = made()
    logits, steps = search.supernet.logits.detach().clone(), search.steps()
    for number, _ in enumerate(steps):
        moved = not torch.equal(search.supernet.logits, logits)
        assert moved == (number >= 3), number  # the second of two epochs
    told = {name: float(own.detach().abs().sum()) for name, own in search.messages.named_parameters()}
    assert told["pairs.phi2"] > 0  # nothing at first
    rates = search.weights.param_groups[0]["lr"], search.recipe.weights
    assert rates[1].last_learning_rate < rates[0] < rates[1].learning_rate


def test_the_temperature_falls_from_the_first_to_the_last_while_logits_learn() -> None:
    search = made(epochs=4)
    heats = [search.temperature(step) for step in range(search.steps_wanted)]
    assert heats[:7] == [1.0] * 7
    assert heats[-1] == pytest.approx(0.03)
    assert heats[6:] == sorted(heats[6:], reverse=True)


def test_messages_change_what_is_found_and_none_has_no_weights() -> None:
    logits = {}
    for message in ("gcn", "linear", "none"):
        search = made(message=message, epochs=2, warmup=0.0)
        for _ in search.steps():
            pass
        logits[message] = search._shares()
        assert bool(list(search.messages.parameters())) == (message != "none")
    assert not (logits["gcn"] == logits["none"]).all()
    assert not (logits["linear"] == logits["none"]).all()
    assert not (logits["gcn"] == logits["linear"]).all()


@pytest.mark.slow
def test_a_budget_is_approached_by_adapting_beta(tmp_path: Path) -> None:
    judging = {"networks": 2, "frames": 1, "calibration_batches": 0}
    wanted = gas(frames=16, epochs=6, warmup=0.1, message="none", judging=judging, logits=SLOWER)
    for share in (0.35, 0.6):
        limited = with_budget(wanted, share)
        result = run_search(limited, tmp_path / str(share), ALONE, resume=False, watch=Log())
        assert limited.budget is not None
        assert result.summary["expected"]["latency"] == pytest.approx(limited.budget.value, rel=0.05)


def test_a_heavier_beta_makes_the_network_cheaper() -> None:
    ends = []
    for weight in (0.0, 10.0):
        search = made(resource_weight=weight, warmup=0.0)
        ends.append([now.expected["latency"] for now in search.steps()][-1])
    assert ends[1] < ends[0]


def test_what_is_shown_says_after_gas(tmp_path: Path) -> None:
    found = run_search(gas(), tmp_path, ALONE, resume=False, watch=Log())
    told, chosen = load(tmp_path), load_architecture(tmp_path / "chosen.yaml")
    assert "strategy gas (after GAS)" in told.made_by
    assert "by gas (after GAS)" in (chosen.origin or "")
    assert [sum(own.values()) for own in told.choices] == pytest.approx([1.0] * 20)
    assert found.networks[0].options == tuple(max(own, key=own.__getitem__) for own in told.choices)


def test_how_it_is_computed_may_change_on_the_way_and_little_else(tmp_path: Path) -> None:
    run_search(gas(), tmp_path / "whole", ALONE, resume=False, watch=(whole := Log()))
    with pytest.raises(KeyboardInterrupt):
        run_search(gas(), tmp_path / "parts", ALONE, resume=False, watch=Log(4))
    with pytest.raises(InvalidCheckpoint, match=r"recipe\.message was 'gcn', is 'none'"):
        run_search(gas(message="none"), tmp_path / "parts", ALONE, resume=True, watch=Log())
    run_search(gas(form="plain"), tmp_path / "parts", ALONE, resume=True, watch=(rest := Log()))
    assert rest.losses == pytest.approx(whole.losses[4:], rel=1e-3)


def test_with_statistics_of_several_processes_operations_are_evaluated_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def counted(*given: Any) -> Any:
        calls.append(1)
        return fused.fused_nodes(*given)

    monkeypatch.setattr("search.supernet.gas.cell.fused_nodes", counted)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)  # of one process
    found, images = [], torch.randn(2, 3, 64, 64)
    for shared in (False, True):
        search = made()
        if shared:
            convert_batch_norm(search.supernet, ALONE.device)
        weights = search.supernet.logits.detach().softmax(-1)
        found.append(search.supernet.train()(images, weights).detach())
        assert len(calls) == CELLS.chain.cells
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            lambda: problem(strategy="gas", space=FIVE),
            "strategy gas searches chains of independent cells, which space five is not; allowed: --space "
            "gas, gas-wide",
        ),
        (
            lambda: problem(space=CELLS),
            "strategy gumbel needs a supernet of a chain, which space cells has not; allowed: gas; random, "
            "evolution, with --recipe training",
        ),
        (
            lambda: problem("macs", strategy="gas", space=CELLS),
            "strategy gas pays for the latency's logarithm: found budget None, objective macs; allowed: "
            "--budget with a time such as 10ms or none, and no other --objective",
        ),
    ],
)
def test_what_a_strategy_does_not_search_is_said_before_costs(wanted: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSearch) as refused:
        run_search(wanted(), tmp_path, ALONE, resume=False, watch=Log())
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("crop", "said"),
    [
        ([64, 70], r"^recipe tiny, crop: found \[64, 70\]; allowed: sides that 8 divides, the nearest is"),
        ([64, 65], r"the nearest is \[64, 64\]$"),
    ],
)
def test_crops_that_the_cells_do_not_take(crop: list[int], said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        made(crop=crop)


def test_latencies_of_zero_have_no_logarithm() -> None:
    wanted = gas()

    class Nothing:
        def __getattr__(self, name: str) -> Any:
            return getattr(wanted.costs.model, name)

        def pieces(self, kernels: Any) -> Any:
            return [(0.0, 0.0, 0.0) for _ in kernels]

    free = replace(wanted, costs=replace(wanted.costs, _model=Nothing()))  # type: ignore[arg-type]
    with pytest.raises(InvalidSearch, match="all latencies are 0, whose logarithm a search cannot pay for"):
        made(free)


def test_no_finite_loss_ends_it(tmp_path: Path) -> None:
    wanted = gas(weights={"learning_rate": 1e18, "last_learning_rate": 1e18}, epochs=4)
    with pytest.raises(FailedTraining, match=r"the loss is (nan|inf) in epoch \d+, step \d+"):
        run_search(wanted, tmp_path, ALONE, resume=False, watch=Log())


def test_others_search_the_cells_by_short_trainings(tmp_path: Path) -> None:
    wanted = problem(strategy="random", space=CELLS, scoring=TRAINING, candidates=2)
    found = run_search(with_budget(wanted, 0.5), tmp_path, ALONE, resume=False, watch=Log())
    assert len(found.networks) == 2


def test_two_processes_search_as_one(tmp_path: Path) -> None:
    """The same losses and expected latencies as one process with the whole batch, within rounding."""
    programme = tmp_path / "search_in_two.py"
    programme.write_text(_PROGRAMME)
    process = torchrun(2, str(programme), str(tmp_path / "two"), cwd=tmp_path)
    code, _, err = finished(process)
    assert code == 0, err
    run_search(gas(**_TWO), tmp_path / "one", ALONE, resume=False, watch=(alone := Log()))
    told = json.loads((tmp_path / "two" / "steps.json").read_text())
    assert len(told) == len(alone.steps)
    assert math.isclose(told[0][0], alone.losses[0], rel_tol=1e-5)
    for (loss, latency), now in zip(told, alone.steps, strict=True):
        assert math.isclose(loss, now.values["loss"], rel_tol=2e-3)
        assert math.isclose(latency, now.expected["latency"], rel_tol=1e-3)


_TWO: dict[str, Any] = {
    "frames": 8,
    "batch_size": 4,
    "weights": {"learning_rate": 0.001, "last_learning_rate": 0.001},
    "logits": {"learning_rate": 0.01},
}
_PROGRAMME = f"""
import json, sys
from pathlib import Path
from search.parallel.ranks import Ranks
from search.run import run_search
from search.spaces.registry import SPACES
from tests.search.strategies.helpers import CELLS, Log, problem

SPACES[CELLS.name] = CELLS

ranks, out, log = Ranks.start(), Path(sys.argv[1]), Log()
run_search(problem(strategy="gas", space=CELLS, **{_TWO}), out, ranks, resume=False, watch=log)
if ranks.first:
    steps = [(now.values["loss"], now.expected["latency"]) for now in log.steps]
    (out / "steps.json").write_text(json.dumps(steps))
ranks.close()
"""
