"""What ``search`` does, without its command line."""

import contextlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.options import cost_model
from squeezenas_tvm.terminal.progress import progress as shown_progress
from targets import Target, load_target
from targets.support.text import near_miss


@dataclass(frozen=True)
class Searched:
    """A search that has ended, and the folder that holds all of it."""

    problem: SearchProblem
    result: SearchResult
    folder: Path


def search_space(
    *,
    target: Target | str | Path,
    data: str,
    space: str = "small",
    budget: str | None = None,
    objective: str | None = None,
    strategy: str = "gumbel",
    recipe: str | Path = "small",
    resolution: str | tuple[int, int] = (1024, 2048),
    table: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Searched:
    """Find the architecture of a space for a target and a budget; no device is needed.

    Under ``torchrun`` every process calls this; the first one writes.

    Args:
        data: as ``--data`` takes it: ``folder:PATH``, ``camvid:PATH``, ``synthetic``.
        budget: such as ``30ms``; none when None.
        objective: what is paid for; when None what the budget limits, else latency.
        strategy: ``gumbel``, ``random`` or ``evolution``; ``recipe`` is one of its, by name or file.
        resolution: that the costs are of, ``HxW`` or height and width in pixels.
        table: folder of the target's table; see ``estimate_latency``.
        out: folder of all that is written, ``results/search-TARGET`` when None.
        resume: go on from its last checkpoint.
        progress: show how far it is.
        changes: of the recipe: epochs, seed, networks; of gumbel also paths, resource_weight.

    Raises:
        UsageError, TargetError, CostModelError, SearchError: what does not fit, before anything long.
        FailedTraining, FailedWork: it cannot go on; the last checkpoint is kept.
    """
    device = target if isinstance(target, Target) else load_target(target)
    size = Resolution.parse(resolution) if isinstance(resolution, str) else Resolution(*resolution).checked()
    problem = _problem(device, data, space, budget, objective, strategy, recipe, size, table, changes or {})
    folder = out or Path("results") / f"search-{device.name}"
    ranks = Ranks.start()
    try:
        with _Lines(problem, progress and ranks.first) as lines:
            result = run_search(problem, folder, ranks, resume=resume, watch=lines)
    except OSError as error:
        if not folder.is_dir():
            raise UsageError(
                f"--out {folder} cannot be made: {error.strerror}; name another folder"
            ) from None
        raise FailedWork(
            f"{error.filename or folder}: {error.strerror or error}; make room there; the last checkpoint is "
            "kept, the same command with --resume goes on from it"
        ) from error
    finally:
        ranks.close()
    return Searched(problem, result, folder)


def _problem(
    device: Target,
    data_spec: str,
    space_name: str,
    budget_text: str | None,
    objective: str | None,
    strategy: str,
    recipe_source: str | Path,
    resolution: Resolution,
    table: Path | None,
    changes: Mapping[str, Any],
) -> SearchProblem:
    if strategy not in STRATEGIES:
        raise UsageError(
            f"unknown strategy {strategy!r}{near_miss(strategy, STRATEGIES)}; "
            f"allowed: {', '.join(STRATEGIES)}"
        )
    recipe = STRATEGIES[strategy].load_recipe(recipe_source, changes)
    budget = Budget.parse(budget_text) if budget_text else None
    mix = Mix.parse(objective or (budget.name if budget else "latency"))
    space, data, task = get_space(space_name), open_data(data_spec), TASKS["segmentation"]
    model = cost_model(device, table)
    costs = space_costs(model, space, resolution, task.head(data))
    return SearchProblem(
        space=space,
        task=task,
        data=data,
        costs=costs,
        target=device.name,
        mix=mix,
        budget=budget,
        strategy=strategy,
        recipe=recipe,
        resolution=resolution,
        data_spec=data_spec,
    )


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
        self._step = (
            self._stack.enter_context(shown_progress(title, total, done))
            if self._shown
            else lambda text: None
        )

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


def train_command(data_spec: str, out: Path) -> str:
    """What trains the network that a search chose, by the shipped recipe for such data.

    Args:
        data_spec, out: of the search.
    """
    recipe = "squeezenas-paper" if data_spec.startswith("cityscapes") else "camvid"
    words = ["squeezenas-tvm", "train", str(out / "chosen.yaml"), "--data", data_spec]
    return shlex.join([*words, "--recipe", recipe, "--out", str(out / "trained")])
