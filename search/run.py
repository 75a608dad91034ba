"""A whole search: from a problem to a Pareto front and the network that is chosen."""

import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from search.architecture import Architecture
from search.costs.objectives import OBJECTIVES
from search.errors import InvalidCheckpoint
from search.kept import CHECKPOINT, is_kept
from search.parallel.ranks import Ranks
from search.problem.goal import SEARCHED
from search.problem.judged import Judged, choose, pareto_front
from search.problem.problem import NEW_IN_FINGERPRINT, SearchProblem, SearchResult, Watch
from search.problem.strategy import Distributed, Progress, Remapped, SearchStrategy
from search.remapping.table import FILE as REMAPPED
from search.results import distribution, document
from search.results.described import describe
from search.results.front import CHOSEN, companion_file, genotype_of, numbered, write_front
from search.results.judging import judge
from search.strategies.making import check_strategy, make_strategy, upgraded
from search.strategies.registry import STRATEGIES, named
from search.training.checkpoint import check_place, load_checkpoint, restoring, save_checkpoint
from search.training.failures import damage_explained, failures_explained
from search.training.records import CURVES, Records
from targets.support.files import refuse_others, write_whole
from targets.support.interrupts import HeldInterrupts
from targets.support.strict_json import json_text

RECORD = "judged.jsonl"
TRIED = "tried.jsonl"
SAVE_EVERY_S = 300.0  # so much work at most is lost with a killed process

_log = logging.getLogger(__name__)


def run_search(
    problem: SearchProblem, out: Path, ranks: Ranks, *, resume: bool, watch: Watch
) -> SearchResult:
    """Search, judge, write: ``last.ckpt``, ``curves.csv``, TensorBoard events, ``judged.jsonl``,
    ``choices.jsonl`` where it is learned how probable options are, ``tried.jsonl`` where networks are tried
    out, ``remapped.csv`` where weights begin as a donor's, ``networks.csv``, ``front.png``, ``front/*.yaml``,
    ``chosen.yaml``, ``search.json``, and architectures that a strategy finds beside the chosen one. Warns
    where a search ended nearly undecided.

    Args:
        resume: go on from ``last.ckpt``, if there is one.
        watch: is told how far it is.

    Raises:
        InvalidSearch: no network of the space costs the budget, or the strategy does not go with the space.
        InvalidData: missing or damaged frames.
        InvalidCheckpoint: another search, or one in the way.
        InTheWay: files of others would be overwritten.
        InvalidRecipe: the processes cannot share a batch.
        FailedTraining: no finite loss, out of memory, a lost process; the last checkpoint is kept.
        FailedWrite: a full disk.
    """
    check_strategy(problem)
    problem.check()
    torch.manual_seed(problem.recipe.seed)
    fingerprint = problem.fingerprint()
    state = _saved(problem, fingerprint, out, resume)
    if state is None and ranks.first:
        _refuse_others(problem, out)
    with failures_explained(out, memory=problem.recipe.out_of_memory, workers="workers in the recipe"):
        with restoring(out / CHECKPOINT) if state else contextlib.nullcontext():
            strategy = make_strategy(problem, ranks, state["search"] if state else None)
            check_place(out / CHECKPOINT, step=(strategy.step, strategy.steps_wanted))
            curves = _Curves(fingerprint, strategy, out, ranks, state)
        if ranks.first and isinstance(strategy, Remapped) and strategy.remapped:
            write_whole(out / REMAPPED, strategy.remapped, "the table of remapped weights")
        if ranks.first and not (state and (out / document.FILE).exists()):
            describe(problem).save(out / document.FILE)
        if ranks.first and strategy.step < strategy.steps_wanted:
            (out / RECORD).unlink(missing_ok=True)  # of weights that are about to change
        with damage_explained():
            _run(strategy, curves, watch)
            return _finish(problem, strategy, out, ranks, watch)


def _run(strategy: SearchStrategy, curves: "_Curves", watch: Watch) -> None:
    """All steps that are left; Ctrl-C leaves a checkpoint."""
    watch.begin("search", strategy.steps_wanted, strategy.step)
    try:
        with contextlib.closing(strategy.steps()) as steps:  # they hold Ctrl-C back until the next or the end
            for progress in steps:
                curves.add(progress)
                watch.step(progress)
    except KeyboardInterrupt:
        with HeldInterrupts():
            curves.save()
        raise
    finally:
        curves.close()


def _saved(
    problem: SearchProblem, fingerprint: Mapping[str, Any], out: Path, resume: bool
) -> dict[str, Any] | None:
    """The checkpoint to go on from, if any. Raises InvalidCheckpoint where one is in the way."""
    if not is_kept(out):
        return None
    if not resume:
        raise InvalidCheckpoint(f"{out} holds a search already; go on with --resume, or name another --out")
    free = STRATEGIES[problem.strategy].free
    return load_checkpoint(
        out / CHECKPOINT,
        fingerprint,
        free=lambda state, now: ("recipe.name", "recipe.summary", *free(state, now)),  # for people
        new=NEW_IN_FINGERPRINT,
        upgraded=upgraded,
    )


def _refuse_others(problem: SearchProblem, out: Path) -> None:
    """Raise InTheWay where a new search would overwrite what it did not write."""
    names = ["networks.csv", "front.png", CHOSEN, RECORD]
    names += map(companion_file, STRATEGIES[problem.strategy].companions)
    if not document.is_unfinished(out):  # killed before its first checkpoint, a search leaves these
        names += [document.FILE, distribution.FILE, CURVES, TRIED, REMAPPED]
    paths = [*(out / name for name in names), *numbered(out)]
    refuse_others(paths, "move them away, or name another --out")


class _Curves:
    """What is written while a search runs, by the first process: events, curves.csv, the log of networks that
    are tried out, checkpoints."""

    def __init__(
        self,
        fingerprint: Mapping[str, Any],
        strategy: SearchStrategy,
        out: Path,
        ranks: Ranks,
        state: Mapping[str, Any] | None,
    ) -> None:
        self._strategy, self._out, self._fingerprint = strategy, out, fingerprint
        self._rows: list[dict[str, float | None]] = list(state["rows"]) if state else []
        self._losses: list[float] = list(state["losses"]) if state else []
        self._tried: list[str] = list(state.get("tried", ())) if state else []
        self._choices: list[str] = list(state.get("choices", ())) if state else []
        self._saved_s = time.monotonic()
        self._records = None
        if ranks.first:
            out.mkdir(parents=True, exist_ok=True)
            columns = (
                "epoch",
                *strategy.curves,
                *(f"expected_{OBJECTIVES[name].column}" for name in SEARCHED),
            )
            self._records = Records(out, columns, purge_step=strategy.step)

    def add(self, now: Progress) -> None:
        """A step; at the end of an epoch, and every few minutes, all is saved."""
        if math.isfinite(loss := now.values.get("loss", math.nan)):
            self._losses.append(loss)
        if self._records is None:
            return
        expected = {
            f"expected/{OBJECTIVES[name].column}": value / OBJECTIVES[name].size
            for name, value in now.expected.items()
        }
        known = {name: value for name, value in now.values.items() if math.isfinite(value)}
        self._records.scalars(now.step - 1, {**known, **expected})
        if now.tried is not None:
            self._tried.append(json_text(now.tried) + "\n")
        if now.ends_epoch:
            self._rows.append(_row(now, self._losses))
            self._records.rows(list(map(_in_units, self._rows)))
            self._losses = []
            if isinstance(self._strategy, Distributed):
                self._choices.append(distribution.distribution_line(now.epoch, self._strategy.choices()))
        if now.ends_epoch or time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """A checkpoint."""
        if self._records is not None:
            own = {"rows": self._rows, "losses": self._losses, "fingerprint": self._fingerprint}
            if self._tried:
                own["tried"] = self._tried
                write_whole(self._out / TRIED, "".join(self._tried), "the log of networks")
            if self._choices:
                own["choices"] = self._choices
                write_whole(self._out / distribution.FILE, "".join(self._choices), "the log of choices")
            save_checkpoint(self._out / CHECKPOINT, {**own, "search": self._strategy.state()})
            self._saved_s = time.monotonic()

    def close(self) -> None:
        """The last events."""
        if self._records is not None:
            self._records.close()


def _row(last: Progress, losses: Sequence[float]) -> dict[str, float | None]:
    """An epoch: its mean loss, and how it left the rest; None where nothing is known."""
    expected = {f"expected_{name}": value for name, value in last.expected.items()}
    own = {name: value if math.isfinite(value) else None for name, value in last.values.items()}
    if "loss" in own:
        own["loss"] = sum(losses) / len(losses) if losses else None
    return {"epoch": last.epoch, **own, **expected}


def _in_units(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """A line of curves.csv: costs in units that columns name. Checkpoints hold them as they are counted."""
    columns = {f"expected_{name}": own for name, own in OBJECTIVES.items()}
    line: dict[str, float | None] = {}
    for name, value in row.items():
        if (own := columns.get(name)) and value is not None:
            line[f"expected_{own.column}"] = value / own.size
        else:
            line[name] = value
    return line


def _finish(
    problem: SearchProblem, strategy: SearchStrategy, out: Path, ranks: Ranks, watch: Watch
) -> SearchResult:
    proposed = strategy.propose(problem.recipe.networks, problem.recipe.seed)
    networks = [tuple(genotype.values()) for genotype in proposed]
    watch.begin("judge", len(networks))
    judged = judge(problem, strategy, networks, out / RECORD, ranks, watch)
    front = pareto_front(judged, problem.cost)
    limit = problem.budget.value if problem.budget else None
    chosen = choose(judged, problem.cost, limit, strategy.worth)
    companions = strategy.companions()
    result = SearchResult(judged, front, chosen, strategy.summary())
    if ranks.first:
        if undecided := result.summary.get("undecided"):
            _log.warning("%s", undecided)
        as_file = partial(_architecture, problem)
        write_front(out, problem, judged, front, chosen, as_file, companions)
        describe(problem, result).save(out / document.FILE)
    return result


def _architecture(problem: SearchProblem, network: Judged, name: str) -> Architecture:
    origin = (
        f"searched on {problem.data.name} for {problem.target} by {named(problem.strategy)}, {problem.mix}, "
        f"budget {problem.budget}; estimated {network.latency_s * 1e3:.3g} ms, in the search "
        f"{problem.task.shown(network.score)}"
    )
    genotype = genotype_of(problem, network)
    return problem.architecture(genotype, name, origin=origin, searched_for=problem.target)
