"""A Gumbel-softmax search of a problem, new or as a checkpoint left it."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch

from search.data.loaders import Augmentation, TrainLoader, train_loader
from search.errors import InvalidSearch
from search.networks.beginning import begin_quietly
from search.parallel.ranks import Ranks
from search.problem.goal import SEARCHED
from search.problem.problem import SearchProblem
from search.spaces.chain import ChainSpace
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.gas.space import GasSpace
from search.strategies.beginning import begin_with
from search.strategies.gumbel.gumbel import GumbelSearch
from search.strategies.gumbel.recipe import GumbelRecipe
from search.strategies.penalties.budget import BudgetPenalty
from search.strategies.penalties.expected_costs import ExpectedCosts
from search.supernet import Supernet
from search.supernet.path_judge import Judgement, PathJudge


def make_gumbel(problem: SearchProblem, ranks: Ranks, state: Mapping[str, Any] | None) -> GumbelSearch:
    """The strategy. Raises InvalidSearch for a space that has no supernet, and what ``begin_with`` does."""
    recipe = cast(GumbelRecipe, problem.recipe)
    outputs, data = problem.head.outputs, problem.data
    supernet = Supernet(
        chain_of(problem),
        outputs,
        stride=problem.head.stride,
        form=recipe.form,
        checkpointing=recipe.checkpointing,
        compiled=recipe.compile,
        candidates=state["candidates"] if state else None,
    )
    begin_quietly(supernet.decoder, problem.head)
    supernet.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    table = None
    if recipe.init is not None and not state:
        table = begin_with(supernet, problem, recipe.init, new_head=recipe.new_head)
    costs = ExpectedCosts(problem.costs, SEARCHED, ranks.device)
    penalty = BudgetPenalty(
        costs,
        problem.mix,
        problem.costs.mean(),
        resource_weight=recipe.resource_weight,
        budget=problem.budget,
    )
    loss = problem.task.loss(recipe.loss, data.frames("train"), outputs, ranks)
    judging = recipe.judging
    by = Judgement(judging.frames, judging.calibration_batches, recipe.crop, recipe.batch_size, recipe.seed)
    judge = partial(PathJudge, supernet.space, supernet.path, problem.task, data, by, ranks)
    search = GumbelSearch(
        supernet, recipe, _loaders(problem, recipe, ranks), penalty, costs, loss, ranks, judge
    )
    search.remapped = table
    if state:
        search.restore(state)
    return search


def chain_of(problem: SearchProblem) -> ChainSpace:
    """The space, if it has a supernet. Raises InvalidSearch."""
    if isinstance(problem.space, ChainSpace):
        return problem.space
    other = "random, evolution, with --recipe training"
    if isinstance(problem.space, FastersegSpace):
        other = f"cosearch; {other}"
    if isinstance(problem.space, GasSpace):
        other = f"gas; {other}"
    raise InvalidSearch(
        f"strategy gumbel needs a supernet of a chain, which space {problem.space.name} has not; "
        f"allowed: {other}"
    )


def _loaders(problem: SearchProblem, recipe: GumbelRecipe, ranks: Ranks) -> list[TrainLoader]:
    """Of all training frames, or of one half each for weights and logits."""
    frames = problem.data.frames("train")
    halves = (
        [range(len(frames))] if recipe.update == "together" else [range(i, len(frames), 2) for i in (0, 1)]
    )
    augmentation = Augmentation(recipe.crop, recipe.scale, recipe.flip, recipe.colour)
    return [
        train_loader(
            frames.subset(half),
            augmentation,
            batch_size=ranks.share(recipe.batch_size),
            workers=recipe.workers,
            seed=recipe.seed + number,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        for number, half in enumerate(halves)
    ]


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of 0.1, all keys beside each other, with the names of now; another work's as it is."""
    recipe = state.get("fingerprint", {}).get("recipe", {})
    state = dict(state)
    if "theta" not in state or "theta" not in recipe:
        return state
    state["logits"], state["resource_weight"] = state.pop("theta"), state.pop("alpha")
    state["supernet"] = {
        f"logits.{name.removeprefix('theta.')}" if name.startswith("theta.") else name: value
        for name, value in state["supernet"].items()
    }
    renamed = {"theta": "logits", "alpha": "resource_weight"}
    recipe = {renamed.get(name, name): value for name, value in recipe.items()}
    state["fingerprint"] = {**state["fingerprint"], "recipe": recipe, "strategy": "gumbel"}
    state["rows"] = [{renamed.get(name, name): v for name, v in row.items()} for row in state["rows"]]
    return state
