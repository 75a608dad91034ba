"""What ``search`` does: a problem from names, and the search of it with its progress."""

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_models.lookup import cost_model
from search.costs.chain_costs import space_costs
from search.costs.objectives import shown
from search.data.datasets import open_data
from search.parallel.ranks import Ranks
from search.problem.goal import Budget, Mix
from search.problem.judged import Judged
from search.problem.problem import SearchProblem, SearchResult
from search.problem.strategy import Progress
from search.resolution import Resolution
from search.run import run_search
from search.spaces.registry import get_space
from search.strategies.registry import STRATEGIES
from search.tasks.registry import TASKS
from search.tasks.task import rewarded
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.terminal.progress import progress as shown_progress
from squeezenas_tvm.training.stopped import note_resumed, unwritten
from targets import PublishedDevice, Target
from targets.support.files import FailedWrite
from targets.support.interrupts import termination_stops
from targets.support.text import near_miss


@dataclass(frozen=True)
class Searched:
    """A search that has ended, and the folder that holds all of it."""

    problem: SearchProblem
    result: SearchResult
    folder: Path

    @property
    def architecture(self) -> Path:
        """The file of the chosen network."""
        return self.folder / "chosen.yaml"


def search_space(
    *,
    target: Target | PublishedDevice,
    data: str,
    space: str = "small",
    task: str = "segmentation",
    budget: str | None = None,
    objective: str | None = None,
    strategy: str = "gumbel",
    recipe: str | Path = "small",
    resolution: Resolution,
    table: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    shown: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> Searched:
    """See ``squeezenas_tvm.search_space``. Under ``torchrun`` every process calls this."""
    _check_known("strategy", strategy, STRATEGIES)
    _check_known("task", task, TASKS)
    loaded = STRATEGIES[strategy].load_recipe(recipe, changes or {}).for_task(task)
    limit = Budget.parse(budget) if budget else None
    mix = Mix.parse(objective or (limit.name if limit else "latency"))
    searched, opened = get_space(space), open_data(data, task)
    solved = rewarded(TASKS[task], STRATEGIES[strategy].reward(loaded))
    problem = SearchProblem(
        space=searched,
        task=solved,
        data=opened,
        costs=space_costs(cost_model(target, table), searched, resolution, solved.head(opened)),
        target=target.name,
        mix=mix,
        budget=limit,
        strategy=strategy,
        recipe=loaded,
        resolution=resolution,
        data_spec=data,
    )
    folder = out or default_folder(target)
    return Searched(problem, _run(problem, folder, resume=resume, shown=shown), folder)


def default_folder(target: Target | PublishedDevice) -> Path:
    """Where a search for a target is kept unless another place is named."""
    return Path("results") / f"search-{target.name}"


def _check_known(noun: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UsageError(f"unknown {noun} {name!r}{near_miss(name, known)}; allowed: {', '.join(known)}")


def _run(problem: SearchProblem, folder: Path, *, resume: bool, shown: bool) -> SearchResult:
    if resume:
        note_resumed(folder)
    with termination_stops():
        ranks = Ranks.start()
        try:
            with _Lines(problem, shown and ranks.first) as lines:
                return run_search(problem, folder, ranks, resume=resume, watch=lines)
        except (OSError, FailedWrite) as error:
            if isinstance(error, OSError) and not folder.is_dir():
                raise UsageError(
                    f"--out {folder} cannot be made: {error.strerror}; name another folder"
                ) from None
            raise unwritten(error, folder) from error
        finally:
            ranks.close()


class _Lines:
    """What a search says of itself while it runs; nothing from processes other than the first."""

    def __init__(self, problem: SearchProblem, shown: bool) -> None:
        self._problem, self._shown = problem, shown
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A part of the search, of ``total`` pieces."""
        self._stack.close()
        self._step = self._stack.enter_context(shown_progress(title, total, done, shown=self._shown))

    def step(self, now: Progress) -> None:
        """After each step of the strategy."""
        cost, budget = self._problem.cost, self._problem.budget
        spent = f"expected {cost} {shown(cost, now.expected[cost])}"
        if budget:
            spent += f" of {shown(cost, budget.value)}"
        self._step(f"{now.said}, {spent}")

    def judged(self, network: Judged, count: int) -> None:
        """After each network judged."""
        cost = self._problem.cost
        self._step(f"{self._problem.task.shown(network.score)}, {cost} {shown(cost, network.cost(cost))}")
