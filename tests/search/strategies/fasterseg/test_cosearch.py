"""A student's grid searched beside its teacher: passes, halves, steering, what is handed over."""

import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.architecture import load_architecture
from search.errors import FailedTraining, InvalidRecipe, InvalidSearch
from search.problem.problem import SearchProblem, SearchResult
from search.results.document import load
from search.results.front import genotype_of
from search.run import CHECKPOINT, run_search
from search.spaces.fasterseg.derive import score
from search.strategies.fasterseg.cosearch import CoSearch
from search.strategies.fasterseg.passes import pretraining_passes, search_passes
from search.strategies.making import make_strategy
from search.supernet.fasterseg.widths import MapWidths
from search.training.checkpoint import load_checkpoint
from targets.support.files import InTheWay

from ...training.helpers import equal, finished, torchrun
from ..helpers import ALONE, FIVE, GRID, TRAINING, Log, problem, same, with_budget
from .problems import cosearch


@dataclass(frozen=True)
class Searched:
    """A search that has ended."""

    wanted: SearchProblem
    folder: Path
    result: SearchResult
    log: Log
    warned: list[str]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """As short as can be; its logits hardly move."""
    folder, wanted, log = tmp_path_factory.mktemp("whole"), cosearch(), Log()
    warned = _Warnings()
    logging.getLogger("search.run").addHandler(warned)
    try:
        result = run_search(wanted, folder, ALONE, resume=False, watch=log)
    finally:
        logging.getLogger("search.run").removeHandler(warned)
    return Searched(wanted, folder, result, log, warned.lines)


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def made(**changes: Any) -> CoSearch:
    """Before its first step."""
    strategy = make_strategy(cosearch(**changes), ALONE, None)
    assert isinstance(strategy, CoSearch)
    return strategy


def test_stopped_and_resumed_equals_uninterrupted(searched: Searched, tmp_path: Path) -> None:
    """Every tensor of the checkpoint too: weights, statistics, logits, optimisers."""
    for stop in (1, 2):  # at the end of the pretraining, and in the search
        with pytest.raises(KeyboardInterrupt):
            run_search(searched.wanted, tmp_path, ALONE, resume=stop > 1, watch=Log(1))
    last = Log()
    assert run_search(searched.wanted, tmp_path, ALONE, resume=True, watch=last) == searched.result
    assert [same(a.values, b.values) for a, b in zip(last.steps, searched.log.steps[2:], strict=True)] == [
        True
    ]
    states = [
        load_checkpoint(folder / CHECKPOINT, searched.wanted.fingerprint())["search"]
        for folder in (searched.folder, tmp_path)
    ]
    assert equal(*states)
    for name in ("networks.csv", "chosen.yaml", "teacher.yaml", "curves.csv"):
        assert (tmp_path / name).read_text() == (searched.folder / name).read_text(), name


def test_the_student_and_its_teacher_are_handed_over(searched: Searched) -> None:
    wanted, found = searched.wanted, searched.result
    assert wanted.budget is not None
    chosen = load_architecture(searched.folder / "chosen.yaml")
    assert chosen.space == "fasterseg-student:layers=8,base=3"
    assert chosen.genotype == genotype_of(wanted, found.chosen)
    teacher = load_architecture(searched.folder / "teacher.yaml")
    assert teacher.space == "fasterseg-teacher:layers=8,base=3"
    assert teacher.labels == chosen.labels == wanted.data.classes
    assert "the teacher of a search on synthetic for jetson-xavier by cosearch" in (teacher.origin or "")
    within = [n for n in found.networks if n.latency_s <= wanted.budget.value]
    assert len(found.networks) == 4  # both pairs as derived, and both within the budget
    assert len(within) == 2
    assert found.chosen == max(within, key=lambda n: score(n.score, n.latency_s))
    assert len({n.score for n in found.networks}) == 2  # one a pair of branches


def test_a_search_that_ends_nearly_undecided_says_so(searched: Searched) -> None:
    told = load(searched.folder)
    assert told.undecided is not None
    assert [told.undecided] == searched.warned
    assert told.undecided.startswith("the search ended nearly undecided: student on operation (likeliest ")
    assert set(told.sureness) == {"student", "teacher"}
    assert set(told.sureness["student"]) == {"operation", "path", "width"}
    assert set(told.sureness["teacher"]) == {"operation", "path"}
    last = searched.log.steps[-1].values
    assert told.sureness["student"]["width"].entropy == last["entropy_width"]


def test_weights_alone_are_pretrained_by_five_passes() -> None:
    search = made()
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    steps = search.steps()
    now = next(steps)
    assert "epoch 1 of 3, " in now.said
    assert "weights alone" in now.said
    after = search.supernet.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    logits = {name for name in before if name.split(".")[2] in ("alpha", "beta", "ratio")}
    assert len(logits) == 2 * 8
    assert not logits & moved
    for learner in ("teacher", "student"):  # stems and heads of both
        assert any(f"{learner}.stem" in name for name in moved)
        assert any(f"{learner}.heads.4" in name for name in moved)
    passes = pretraining_passes(search.supernet, torch.Generator().manual_seed(0))
    assert [own.learner for own in passes] == ["teacher", *["student"] * 4]
    wide, narrow, *random = [set(own.widths.twelfths.values()) for own in passes[1:]]
    assert (wide, narrow) == ({12}, {4})
    assert all(len(widths) > 2 for widths in random)
    assert not any(own.paid for own in passes)


def test_the_student_alone_pays_as_it_was_drawn() -> None:
    passes = search_passes(made().supernet, torch.Generator().manual_seed(0))
    assert [(own.learner, own.paid) for own in passes] == [
        ("teacher", False),
        ("student", True),
        ("student", False),
        ("student", False),
    ]
    assert len(passes[1].widths.rows) == 3
    assert [set(own.widths.twelfths.values()) for own in passes[2:]] == [{12}, {4}]


def test_logits_and_weights_learn_from_halves_of_the_frames() -> None:
    wanted = cosearch()
    loaders = made()._loaders
    halves = [
        {frame.name for frame in loader._loader.dataset.frames.frames}  # type: ignore[attr-defined]
        for loader in (loaders.pretraining, loaders.weights, loaders.logits)
    ]
    assert halves[0] == halves[1]
    assert not halves[1] & halves[2]
    assert halves[1] | halves[2] == set(wanted.data.frames("train").names)


def test_logits_go_first_and_their_step_moves_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    search = made(pretraining={"epochs": 0, "crop": [64, 64], "batch_size": 2})
    order: list[str] = []

    def noted(name: str, optimizer: torch.optim.Optimizer) -> None:
        step = optimizer.step

        def told(*given: Any) -> Any:
            grads = {id(p) for p in search.supernet.parameters() if p.grad is not None}
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            order.append(f"{name} {'alone' if name == 'weights' and grads <= own else len(grads - own)}")
            return step(*given)

        monkeypatch.setattr(optimizer, "step", told)

    for name, optimizer in {**search.logits, "weights": search.weights}.items():
        noted(name, optimizer)
    next(search.steps())
    # Of the other learner's logits: 5 of the teacher's have gradients (it draws no widths), the student's 8.
    assert order == ["teacher 8", "student 5", "weights alone"]


def test_the_price_of_latency_is_steered_after_each_epoch_of_the_search(searched: Searched) -> None:
    weights = [now.values["resource_weight"] for now in searched.log.steps]
    budget = searched.wanted.budget
    assert budget is not None
    assert weights[:2] == [0.01, 0.01]  # the pretraining, and the first epoch
    assert weights[2] in (0.005, 0.02)
    pairs = made()._networks["student"]
    assert pairs.range_s()[0] < budget.value


@pytest.mark.slow
def test_a_heavier_price_leads_to_a_cheaper_student() -> None:
    ends = []
    for weight in (1e-6, 30.0):
        search = made(share=0.5, resource_weight=weight, epochs=4, logits={"learning_rate": 0.3})
        search._penalty.steer = lambda pairs_s: None  # type: ignore[method-assign]
        ends.append([now.expected["latency"] for now in search.steps()][-1])
    assert ends[1] < ends[0]


def test_heads_are_judged_on_frames_of_any_size(searched: Searched) -> None:
    search = made()
    grid = search.supernet.grid
    judge = search._make_judge()
    found = judge._predictions(torch.zeros(1, 3, 65, 97), "student", MapWidths.fixed(grid, 4))
    assert {scale: tuple(logits.shape) for scale, logits in found.items()} == {
        scale: (1, 19, 65, 97) for scale in (0, 1)
    }


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            lambda: problem(strategy="cosearch", space=FIVE, budget="3ms"),
            "strategy cosearch searches a student's grid beside its teacher, which space five is not; "
            "allowed: --space fasterseg-student, of any size (fasterseg-student:layers=8,base=3); chains are "
            "searched by gumbel, random, evolution",
        ),
        (
            lambda: problem(space=GRID),
            "strategy gumbel needs a supernet of a chain, which space fasterseg-student:layers=8,base=3 has "
            "not; allowed: cosearch; random, evolution, with --recipe training",
        ),
        (
            lambda: problem(strategy="cosearch", space=GRID),
            "strategy cosearch steers the latency around a budget: found budget None, objective latency; "
            "allowed: --budget with a time such as 8ms, and no other --objective",
        ),
        (
            lambda: problem("macs", "0.1GMACs", strategy="cosearch", space=GRID),
            "strategy cosearch steers the latency around a budget: found budget 0.1 GMACs, objective macs; "
            "allowed: --budget with a time such as 8ms, and no other --objective",
        ),
    ],
)
def test_what_a_strategy_does_not_search_is_said_before_costs(wanted: Any, said: str, tmp_path: Path) -> None:
    beyond = replace(wanted(), budget=wanted().budget and replace(wanted().budget, value=1e-9))
    with pytest.raises(InvalidSearch) as refused:
        run_search(beyond, tmp_path, ALONE, resume=False, watch=Log())
    assert str(refused.value) == said.replace("0.1 GMACs", "1e-18 GMACs")


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_others_search_the_grid_by_short_trainings(strategy: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"population": 2, "sample": 1} if strategy == "evolution" else {}
    wanted = problem(strategy=strategy, space=GRID, scoring=TRAINING, candidates=3, **changes)
    found = run_search(with_budget(wanted, 0.3), tmp_path, ALONE, resume=False, watch=Log())
    assert len(found.networks) == 3
    assert load_architecture(tmp_path / "chosen.yaml").space == GRID.name


def test_a_budget_that_no_derived_network_meets(tmp_path: Path) -> None:
    """Though some network of the space does."""
    with pytest.raises(InvalidSearch) as refused:
        run_search(cosearch(0.02), tmp_path / "out", ALONE, resume=False, watch=Log())
    said = str(refused.value)
    assert (
        "networks that cosearch can find in fasterseg-student:layers=8,base=3 take 3.292 ms to 9.236 ms"
        in said
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["crop", "pretraining"])
def test_crops_that_the_grid_does_not_take(part: str) -> None:
    changes: dict[str, Any] = {"crop": [64, 90]}
    if part == "pretraining":
        changes = {"pretraining": {"epochs": 1, "crop": [64, 90], "batch_size": 2}}
    where = "crop" if part == "crop" else "pretraining.crop"
    with pytest.raises(
        InvalidRecipe, match=rf"^recipe tiny, {where}: found \[64, 90\]; .* nearest is \[64, 96\]$"
    ):
        make_strategy(cosearch(**changes), ALONE, None)


def test_a_teacher_of_the_users_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "teacher.yaml").write_text("mine\n")
    with pytest.raises(InTheWay, match=r"teacher\.yaml"):
        run_search(cosearch(), tmp_path, ALONE, resume=False, watch=Log())


def test_no_finite_loss_ends_it(tmp_path: Path) -> None:
    before = {"epochs": 1, "crop": [64, 64], "batch_size": 2, "learning_rate": 1e30}
    wanted = cosearch(pretraining=before, weights={"gradient_norm": 1e30})
    with pytest.raises(
        FailedTraining, match=r"(loss|norm) is (nan|inf) in epoch \d, step \d+, .* lower weights"
    ):
        run_search(wanted, tmp_path, ALONE, resume=False, watch=Log())


@pytest.mark.slow
def test_two_processes_search_as_one(tmp_path: Path) -> None:
    """The same losses and logits as one process with the whole batch, within rounding."""
    programme = tmp_path / "search_in_two.py"
    programme.write_text(_PROGRAMME)
    process = torchrun(2, str(programme), str(tmp_path / "two"), cwd=tmp_path)
    code, _, err = finished(process, 600)
    assert code == 0, err
    alone = Log()
    result = run_search(cosearch(**_TWO), tmp_path / "one", ALONE, resume=False, watch=alone)
    told = json.loads((tmp_path / "two" / "steps.json").read_text())
    assert len(told["losses"]) == len(alone.steps)
    assert math.isclose(told["losses"][0], alone.losses[0], rel_tol=1e-5)
    for loss, own in zip(told["losses"], alone.losses, strict=True):
        assert math.isclose(loss, own, rel_tol=2e-3)
    for kinds in (told["sureness"][name] for name in ("student", "teacher")):
        assert all(0 < own["top"] < 1 for own in kinds.values())
    for kind, own in told["sureness"]["student"].items():
        assert own == pytest.approx(result.summary["sureness"]["student"][kind], abs=2e-3)


_TWO: dict[str, Any] = {
    "frames": 8,
    "batch_size": 4,
    "pretraining": {"epochs": 1, "crop": [64, 64], "batch_size": 4, "learning_rate": 0.001},
    "weights": {"learning_rate": 0.001},
    "logits": {"learning_rate": 0.01},
}
_PROGRAMME = f"""
import json, sys
from pathlib import Path
from search.parallel.ranks import Ranks
from search.run import run_search
from tests.search.strategies.fasterseg.problems import cosearch
from tests.search.strategies.helpers import Log

ranks, out, log = Ranks.start(), Path(sys.argv[1]), Log()
result = run_search(cosearch(**{_TWO}), out, ranks, resume=False, watch=log)
if ranks.first:
    told = {{"losses": log.losses, "sureness": result.summary["sureness"]}}
    (out / "steps.json").write_text(json.dumps(told))
ranks.close()
"""
