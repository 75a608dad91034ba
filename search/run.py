"""A whole search: from a space, its costs and a data set to a Pareto front and the network that is chosen."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from search.architecture import Architecture, dump_architecture
from search.costs.space_costs import SpaceCosts
from search.data.frames import Data
from search.data.loaders import Augmentation, train_loader
from search.errors import InvalidCheckpoint
from search.parallel.ranks import Ranks
from search.problem.goal import SEARCHED, Budget, Mix
from search.resolution import Resolution
from search.results import document
from search.results.front import Judged, choose, draw_networks, judge, pareto_front, write_front
from search.spaces.chain import ChainSpace
from search.strategies.gumbel.gumbel import Progress, SupernetSearch
from search.strategies.gumbel.path_judge import PathJudge
from search.strategies.gumbel.recipe import SearchRecipe
from search.strategies.penalties.expected_costs import ExpectedCosts, ResourceLoss
from search.supernet import Supernet
from search.tasks.segmentation_losses import make_loss
from search.training.checkpoint import load_checkpoint, save_checkpoint
from search.training.failures import damage_explained, failures_explained
from search.training.records import Records
from targets.support.files import write_whole

CHECKPOINT = "last.ckpt"
RECORD = "judged.jsonl"
# What a resumed search may have otherwise: how it is computed, and what comes after it.
FREE = ("recipe.workers", "recipe.checkpointing", "recipe.compile", "recipe.path_training")
SAVE_EVERY_S = 300.0  # so much work at most is lost with a killed process
COLUMNS = (
    *("epoch", "loss", "temperature", "alpha", "entropy", "candidates"),
    *(f"expected_{name}" for name in SEARCHED),
)


@dataclass(frozen=True)
class SearchTask:
    """What is searched for.

    Attributes:
        costs: of the space's candidates on the target.
        target: its name, for the files that are written; so are ``resolution``, that the costs are of, and
            ``data_spec``, by which ``open_data`` gave the data.
    """

    space: ChainSpace
    data: Data
    costs: SpaceCosts
    target: str
    mix: Mix
    budget: Budget | None
    recipe: SearchRecipe
    resolution: Resolution
    data_spec: str

    @property
    def cost(self) -> str:
        """What the front is drawn over and the budget limits."""
        return self.budget.name if self.budget else next(iter(self.mix.weights))

    def fingerprint(self) -> dict[str, Any]:
        """What a search that is resumed must have been started with."""
        costs = hashlib.sha256(b"".join(self.costs.table(name).tobytes() for name in SEARCHED)).hexdigest()
        return {
            "space": self.space.name,
            "data": f"{self.data.name}, {self.data.num_classes} classes",
            "target": self.target,
            "costs": costs[:16],
            "mix": str(self.mix),
            "budget": str(self.budget),
            "recipe": self.recipe.model_dump(mode="json"),
        }


class Watch(Protocol):
    """Is told how far a search is, in every process."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A part of ``total`` pieces, of which ``done`` were done before."""

    def step(self, now: Progress) -> None:
        """After each step of gradient descent."""

    def judged(self, network: Judged, count: int) -> None:
        """After each network judged, the ``count``-th."""


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        choices: of each position: probability of every candidate that was left.
        expected: cost of the final distribution, by name.
        networks: all that were judged; ``front`` and ``chosen`` are among them.
        removed: epoch, position and candidate, as they went.
    """

    choices: list[dict[str, float]]
    expected: dict[str, float]
    networks: list[Judged]
    front: list[Judged]
    chosen: Judged
    removed: list[tuple[int, int, str]] = field(default_factory=list)


def run_search(
    task: SearchTask,
    out: Path,
    ranks: Ranks,
    *,
    resume: bool,
    watch: Watch,
) -> Outcome:
    """Search, judge, write: ``last.ckpt``, ``curves.csv``, TensorBoard events, ``judged.jsonl``,
    ``networks.csv``, ``front.png``, ``front/*.yaml``, ``chosen.yaml``, ``search.json``.

    Args:
        resume: go on from ``last.ckpt``.
        watch: is told how far it is.

    Raises:
        InvalidSearch: no network of the space costs the budget.
        InvalidData: missing or damaged frames.
        InvalidCheckpoint: nothing to resume, another search, or one in the way.
        FailedTraining: no finite loss, out of memory, a lost process; the last checkpoint is kept.
    """
    costs = ExpectedCosts(task.costs, SEARCHED, ranks.device)
    if task.budget:
        task.budget.check(*costs.range(task.budget.name))
    task.data.check("train", "val")
    torch.manual_seed(task.recipe.seed)
    state = _saved(task, out, resume)
    with failures_explained(memory=_out_of_memory(task.recipe), workers="workers in the recipe"):
        search = _search(task, costs, ranks, state)
        curves = _Curves(task, search, out, ranks, state)
        if ranks.first and not (resume and (out / document.FILE).exists()):
            document.save(out, document.describe(task))
        if ranks.first and search.step < search.steps_wanted:
            (out / RECORD).unlink(missing_ok=True)  # of weights that are about to change
        watch.begin("search", search.steps_wanted, search.step)
        try:
            with damage_explained():
                for progress in search.steps():
                    curves.add(progress)
                    watch.step(progress)
        except KeyboardInterrupt:
            curves.save()
            raise
        finally:
            curves.close()
        return _finish(task, search, costs, out, ranks, watch)


def _out_of_memory(recipe: SearchRecipe) -> str:
    height, width = recipe.crop
    again = "" if recipe.checkpointing else "set checkpointing: true in the recipe (--resume takes it); or "
    fewer = "" if recipe.paths == 1 else ", or train fewer paths (--paths 2)"
    return (
        f"out of memory with {recipe.batch_size} images of {height}x{width}: {again}lower batch_size or crop "
        f"in the recipe{fewer}, and start anew in another --out"
    )


def _saved(task: SearchTask, out: Path, resume: bool) -> dict[str, Any] | None:
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
    return load_checkpoint(out / CHECKPOINT, task.fingerprint(), free=FREE)


def _search(
    task: SearchTask, costs: ExpectedCosts, ranks: Ranks, state: Mapping[str, Any] | None
) -> SupernetSearch:
    recipe = task.recipe
    supernet = Supernet(
        task.space,
        task.data.num_classes,
        form=recipe.form,
        checkpointing=recipe.checkpointing,
        compiled=recipe.compile,
        candidates=state["candidates"] if state else None,
    ).to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    frames = task.data.frames("train")
    halves = (
        [range(len(frames))] if recipe.update == "together" else [range(i, len(frames), 2) for i in (0, 1)]
    )
    augmentation = Augmentation(recipe.crop, recipe.scale, recipe.flip, recipe.colour)
    loaders = [
        train_loader(
            frames.subset(half),
            augmentation,
            batch_size=recipe.batch_size // ranks.world_size,
            workers=recipe.workers,
            seed=recipe.seed + number,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        for number, half in enumerate(halves)
    ]
    mean = task.costs.expected([np.full(len(names), 1 / len(names)) for names in task.costs.candidates])
    resource = ResourceLoss(costs, task.mix, mean, alpha=recipe.alpha, budget=task.budget)
    loss = make_loss(recipe.loss, frames, task.data.num_classes, ranks)
    search = SupernetSearch(supernet, recipe, loaders, resource, costs, loss, ranks)
    if state:
        search.restore(dict(state))
    return search


class _Curves:
    """What is written while a search runs, by the first process: events, curves.csv, checkpoints."""

    def __init__(
        self,
        task: SearchTask,
        search: SupernetSearch,
        out: Path,
        ranks: Ranks,
        state: Mapping[str, Any] | None,
    ) -> None:
        self._search, self._out, self._fingerprint = search, out, task.fingerprint()
        self._rows: list[dict[str, float]] = list(state["rows"]) if state else []
        self._losses: list[float] = list(state["losses"]) if state else []
        self._saved_s = time.monotonic()
        self._records = None
        if ranks.first:
            out.mkdir(parents=True, exist_ok=True)
            self._records = Records(out, COLUMNS, purge_step=search.step)

    def add(self, now: Progress) -> None:
        """A step; at the end of an epoch, and every few minutes, all is saved."""
        self._losses.append(now.loss)
        if self._records is None:
            return
        expected = {f"expected/{name}": value for name, value in now.expected.items()}
        shown = {"loss": now.loss, "alpha": now.alpha, "temperature": now.temperature, "entropy": now.entropy}
        self._records.scalars(now.step, {"candidates": now.left, **shown, **expected})
        if self._search.batch == 0:
            self._rows.append(_row(now, self._losses))
            self._records.rows(self._rows)
            self._losses = []
        if self._search.batch == 0 or time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """A checkpoint."""
        if self._records is not None:
            own = {"rows": self._rows, "losses": self._losses, "fingerprint": self._fingerprint}
            save_checkpoint(self._out / CHECKPOINT, self._search.state() | own)
            self._saved_s = time.monotonic()

    def close(self) -> None:
        """The last events."""
        if self._records is not None:
            self._records.close()


def _row(last: Progress, losses: Sequence[float]) -> dict[str, float]:
    """An epoch of curves.csv: its mean loss, and how it left the rest."""
    return {
        "epoch": last.epoch,
        "loss": sum(losses) / len(losses),
        "temperature": last.temperature,
        "alpha": last.alpha,
        "entropy": last.entropy,
        "candidates": last.left,
        **{f"expected_{name}": value for name, value in last.expected.items()},
    }


def _finish(
    task: SearchTask,
    search: SupernetSearch,
    costs: ExpectedCosts,
    out: Path,
    ranks: Ranks,
    watch: Watch,
) -> Outcome:
    supernet, judging = search.supernet, task.recipe.judging
    probabilities = [p.detach().cpu().tolist() for p in supernet.probabilities()]
    networks = draw_networks(probabilities, supernet.candidates, judging.networks, task.recipe.seed)
    watch.begin("judge", len(networks))
    path_judge = PathJudge(supernet, task.space, task.data, task.recipe, ranks)
    judged = judge(
        networks, path_judge.miou, lambda blocks: _costs(task, blocks), out / RECORD, ranks, note=watch.judged
    )
    front = pareto_front(judged, task.cost)
    chosen = choose(judged, task.cost, task.budget.value if task.budget else None)
    if ranks.first:
        write_front(
            out,
            judged,
            front,
            chosen,
            lambda n, name: _architecture(task, n, name),
            cost=task.cost,
            budget=task.budget,
        )
        write_whole(
            out / "chosen.yaml",
            dump_architecture(_architecture(task, chosen, "chosen")),
            "the chosen architecture",
        )
    with torch.no_grad():
        expected = {name: float(costs(name, supernet.probabilities())) for name in SEARCHED}
    choices = [dict(zip(c, p, strict=True)) for c, p in zip(supernet.candidates, probabilities, strict=True)]
    outcome = Outcome(choices, expected, judged, front, chosen, search.removed)
    if ranks.first:
        document.save(out, document.describe(task, outcome))
    return outcome


def _costs(task: SearchTask, blocks: tuple[str, ...]) -> dict[str, float]:
    """The costs among the fields of ``Judged``."""
    total = task.costs.total(task.costs.choices([blocks]))
    seconds = {"latency_s": "latency", "low_s": "latency_low", "high_s": "latency_high"}
    counted = {name: name for name in ("macs", "params", "memory", "bytes")}
    return {own: float(total[name][0]) for own, name in {**seconds, **counted}.items()}


def _architecture(task: SearchTask, network: Judged, name: str) -> Architecture:
    return Architecture(
        space=task.space.name,
        blocks=list(network.blocks),
        num_classes=task.data.num_classes,
        name=name,
        origin=f"searched on {task.data.name} for {task.target}, {task.mix}, budget {task.budget}; "
        f"estimated {network.latency_s * 1e3:.3g} ms, mIoU of its path {100 * network.miou:.1f} %",
    )
