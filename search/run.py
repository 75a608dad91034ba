"""A whole search: from a problem to a Pareto front and the network that is chosen."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from search.architecture import Architecture
from search.errors import InvalidCheckpoint
from search.parallel.ranks import Ranks
from search.problem.goal import SEARCHED
from search.problem.judged import Judged, choose, pareto_front
from search.problem.problem import SearchProblem, SearchResult, Watch
from search.problem.strategy import Progress, SearchStrategy
from search.results import document
from search.results.described import describe
from search.results.front import CHOSEN, genotype_of, numbered, write_front
from search.results.judging import judge
from search.strategies.making import make_strategy, upgraded
from search.strategies.registry import STRATEGIES
from search.training.checkpoint import load_checkpoint, save_checkpoint
from search.training.failures import damage_explained, failures_explained
from search.training.records import CURVES, Records
from targets.support.files import refuse_others

CHECKPOINT = "last.ckpt"
RECORD = "judged.jsonl"
SAVE_EVERY_S = 300.0  # so much work at most is lost with a killed process


def run_search(
    problem: SearchProblem, out: Path, ranks: Ranks, *, resume: bool, watch: Watch
) -> SearchResult:
    """Search, judge, write: ``last.ckpt``, ``curves.csv``, TensorBoard events, ``judged.jsonl``,
    ``networks.csv``, ``front.png``, ``front/*.yaml``, ``chosen.yaml``, ``search.json``.

    Args:
        resume: go on from ``last.ckpt``.
        watch: is told how far it is.

    Raises:
        InvalidSearch: no network of the space costs the budget, or the strategy does not go with the space.
        InvalidData: missing or damaged frames.
        InvalidCheckpoint: nothing to resume, another search, or one in the way.
        InTheWay: files of others would be overwritten.
        FailedTraining: no finite loss, out of memory, a lost process; the last checkpoint is kept.
        FailedWrite: a full disk.
    """
    problem.check()
    torch.manual_seed(problem.recipe.seed)
    state = _saved(problem, out, resume)
    if state is None and ranks.first:
        _refuse_others(out)
    with failures_explained(memory=problem.recipe.out_of_memory, workers="workers in the recipe"):
        strategy = make_strategy(problem, ranks, state["search"] if state else None)
        curves = _Curves(problem, strategy, out, ranks, state)
        if ranks.first and not (resume and (out / document.FILE).exists()):
            describe(problem).save(out / document.FILE)
        if ranks.first and strategy.step < strategy.steps_wanted:
            (out / RECORD).unlink(missing_ok=True)  # of weights that are about to change
        _run(strategy, curves, watch)
        return _finish(problem, strategy, out, ranks, watch)


def _run(strategy: SearchStrategy, curves: "_Curves", watch: Watch) -> None:
    """All steps that are left; Ctrl-C leaves a checkpoint."""
    watch.begin("search", strategy.steps_wanted, strategy.step)
    try:
        with damage_explained():
            for progress in strategy.steps():
                curves.add(progress)
                watch.step(progress)
    except KeyboardInterrupt:
        curves.save()
        raise
    finally:
        curves.close()


def _saved(problem: SearchProblem, out: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to go on from. Raises InvalidCheckpoint where one is in the way."""
    there = (out / CHECKPOINT).exists()
    if not resume:
        if there:
            raise InvalidCheckpoint(
                f"{out} holds a search already; go on with --resume, or name another --out"
            )
        return None
    if not there:
        raise InvalidCheckpoint(
            f"{out / CHECKPOINT}: nothing to resume; leave --resume out to start, or name another --out"
        )
    free = STRATEGIES[problem.strategy].free
    return load_checkpoint(out / CHECKPOINT, problem.fingerprint(), free=free, upgraded=upgraded)


def _refuse_others(out: Path) -> None:
    """Raise InTheWay where a new search would overwrite what it did not write."""
    names = ["networks.csv", "front.png", CHOSEN, RECORD]
    if not document.is_unfinished(out):  # killed before its first checkpoint, a search leaves these two
        names += [document.FILE, CURVES]
    paths = [*(out / name for name in names), *numbered(out)]
    refuse_others(paths, "move them away, or name another --out")


class _Curves:
    """What is written while a search runs, by the first process: events, curves.csv, checkpoints."""

    def __init__(
        self,
        problem: SearchProblem,
        strategy: SearchStrategy,
        out: Path,
        ranks: Ranks,
        state: Mapping[str, Any] | None,
    ) -> None:
        self._strategy, self._out, self._fingerprint = strategy, out, problem.fingerprint()
        self._rows: list[dict[str, float | None]] = list(state["rows"]) if state else []
        self._losses: list[float] = list(state["losses"]) if state else []
        self._saved_s = time.monotonic()
        self._records = None
        if ranks.first:
            out.mkdir(parents=True, exist_ok=True)
            columns = ("epoch", *strategy.curves, *(f"expected_{name}" for name in SEARCHED))
            self._records = Records(out, columns, purge_step=strategy.step)

    def add(self, now: Progress) -> None:
        """A step; at the end of an epoch, and every few minutes, all is saved."""
        if math.isfinite(loss := now.values.get("loss", math.nan)):
            self._losses.append(loss)
        if self._records is None:
            return
        expected = {f"expected/{name}": value for name, value in now.expected.items()}
        known = {name: value for name, value in now.values.items() if math.isfinite(value)}
        self._records.scalars(now.step - 1, {**known, **expected})
        if now.ends_epoch:
            self._rows.append(_row(now, self._losses))
            self._records.rows(self._rows)
            self._losses = []
        if now.ends_epoch or time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """A checkpoint."""
        if self._records is not None:
            own = {"rows": self._rows, "losses": self._losses, "fingerprint": self._fingerprint}
            save_checkpoint(self._out / CHECKPOINT, {**own, "search": self._strategy.state()})
            self._saved_s = time.monotonic()

    def close(self) -> None:
        """The last events."""
        if self._records is not None:
            self._records.close()


def _row(last: Progress, losses: Sequence[float]) -> dict[str, float | None]:
    """An epoch of curves.csv: its mean loss, and how it left the rest; None where nothing is known."""
    expected = {f"expected_{name}": value for name, value in last.expected.items()}
    own = {name: value if math.isfinite(value) else None for name, value in last.values.items()}
    if "loss" in own:
        own["loss"] = sum(losses) / len(losses) if losses else None
    return {"epoch": last.epoch, **own, **expected}


def _finish(
    problem: SearchProblem, strategy: SearchStrategy, out: Path, ranks: Ranks, watch: Watch
) -> SearchResult:
    proposed = strategy.propose(problem.recipe.networks, problem.recipe.seed)
    networks = [tuple(genotype.values()) for genotype in proposed]
    watch.begin("judge", len(networks))
    judged = judge(problem, strategy, networks, out / RECORD, ranks, watch)
    front = pareto_front(judged, problem.cost)
    chosen = choose(judged, problem.cost, problem.budget.value if problem.budget else None)
    result = SearchResult(judged, front, chosen, strategy.summary())
    if ranks.first:
        write_front(out, problem, judged, front, chosen, lambda n, name: _architecture(problem, n, name))
        describe(problem, result).save(out / document.FILE)
    return result


def _architecture(problem: SearchProblem, network: Judged, name: str) -> Architecture:
    origin = (
        f"searched on {problem.data.name} for {problem.target} by {problem.strategy}, {problem.mix}, budget "
        f"{problem.budget}; estimated {network.latency_s * 1e3:.3g} ms, in the search "
        f"{problem.task.shown(network.score)}"
    )
    return problem.architecture(genotype_of(problem, network), name, origin=origin)
