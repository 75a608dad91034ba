"""A search of a student beside its teacher, new or as a checkpoint left it."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from search.architecture import Architecture, architecture_for
from search.costs.chain_costs import space_costs
from search.data.frames import Frames
from search.data.loaders import Augmentation, TrainLoader, train_loader
from search.errors import InvalidRecipe, InvalidSearch
from search.networks.beginning import begin_quietly
from search.networks.graph_module import GraphModule
from search.parallel.ranks import Ranks
from search.problem.goal import Budget
from search.problem.problem import SearchProblem
from search.spaces.fasterseg.grid import SKIP
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.fasterseg.spaces import teacher_of
from search.strategies.fasterseg.cosearch import CoSearch, Handed, Loaders
from search.strategies.fasterseg.derived import DerivedNetworks
from search.strategies.fasterseg.head_judge import HeadJudge
from search.strategies.fasterseg.latency import KINDS, GridLatency
from search.strategies.fasterseg.passes import STUDENT, TEACHER
from search.strategies.fasterseg.penalty import DecoupledPenalty, own_per_ms, per_ms
from search.strategies.fasterseg.recipe import CosearchRecipe
from search.supernet.fasterseg.supernet import GridSupernet
from search.tasks.task import Loss


def make_cosearch(problem: SearchProblem, ranks: Ranks, state: Mapping[str, Any] | None) -> CoSearch:
    """The strategy.

    Raises:
        InvalidSearch: it does not go with the space or with what is paid for, or no network that it derives
            costs the budget.
        InvalidRecipe: crops that the grid does not take.
        MissingEntry: the target's table lacks a pair of widths, and has no predictor.
    """
    recipe, space = cast(CosearchRecipe, problem.recipe), _student(problem)
    spaces, budget = {TEACHER: teacher_of(space), STUDENT: space}, _latency_budget(problem)
    _check_crops(recipe, space)
    networks = {name: _networks(problem, own) for name, own in spaces.items()}
    _check_budget(problem, budget, networks[STUDENT])
    outputs, data = problem.head.outputs, problem.data
    supernet = GridSupernet(spaces, outputs)
    for name in spaces:
        for own in supernet.learner(name).heads:
            assert isinstance(own, GraphModule)
            begin_quietly(own, problem.head)
    supernet.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    prices = own_per_ms(networks[STUDENT].latency)
    if recipe.shares is not None:
        prices = per_ms({kind: getattr(recipe.shares, kind) for kind in KINDS})
    penalty = DecoupledPenalty(
        networks[STUDENT].latency,
        budget.value,
        weight=recipe.resource_weight,
        prices=prices,
        device=ranks.device,
    )
    search = CoSearch(
        supernet,
        recipe,
        _loaders(problem, recipe, ranks),
        networks,
        penalty,
        budget,
        _small_loss(problem, ranks),
        ranks,
        partial(HeadJudge, supernet, problem.task, data, recipe.frames, ranks),
        partial(_teacher, problem, spaces[TEACHER]),
    )
    if state:
        search.restore(state)
    return search


def _small_loss(problem: SearchProblem, ranks: Ranks) -> Loss:
    """The task's loss at the size of predictions: they are as small as the first scale of the grid."""
    recipe, task = cast(CosearchRecipe, problem.recipe), problem.task
    loss = task.loss(recipe.loss, problem.data.frames("train"), problem.head.outputs, ranks)

    def small(last: Tensor, truth: Tensor) -> Tensor:
        height, width = last.shape[-2:]
        return loss(last, task.truth_at(truth, (height, width)))

    return small


def check_cosearch(problem: SearchProblem) -> None:
    """Raises InvalidSearch where the strategy does not go with the space or with what is paid for."""
    _student(problem)
    _latency_budget(problem)


def _student(problem: SearchProblem) -> FastersegSpace:
    """The space, if it is a grid in which there is something to choose for a student."""
    space = problem.space
    if isinstance(space, FastersegSpace) and len(space.grid.widths) > 1 and SKIP in space.grid.operations:
        return space
    raise InvalidSearch(
        f"strategy cosearch searches a student's grid beside its teacher, which space {space.name} is not; "
        "allowed: --space fasterseg-student, of any size (fasterseg-student:layers=8,base=3)"
        + ("" if isinstance(space, FastersegSpace) else "; chains are searched by gumbel, random, evolution")
    )


def _latency_budget(problem: SearchProblem) -> Budget:
    """What the search is steered around."""
    budget, paid = problem.budget, str(problem.mix)
    if budget is None or budget.name != "latency" or paid != "latency":
        found = f"found budget {budget}, objective {paid}"
        raise InvalidSearch(
            f"strategy cosearch steers the latency around a budget: {found}; allowed: --budget with a time "
            "such as 8ms, and no other --objective"
        )
    return budget


def _check_crops(recipe: CosearchRecipe, space: FastersegSpace) -> None:
    last = space.grid.scales[-1]
    for name, crop in {"crop": recipe.crop, "pretraining.crop": recipe.pretraining.crop}.items():
        if any(side % last for side in crop):
            nearest = [max(round(side / last), 2) * last for side in crop]
            raise InvalidRecipe(
                f"recipe {recipe.name}, {name}: found {list(crop)}; allowed: sides that {last} divides, the "
                f"nearest is {nearest}"
            )


def _networks(problem: SearchProblem, space: FastersegSpace) -> DerivedNetworks:
    costs, size = problem.costs, problem.resolution
    if space is not problem.space:
        costs = space_costs(costs.model, space, size, problem.head)
    return DerivedNetworks(space, costs, GridLatency.of(costs.model, space, size))


def _check_budget(problem: SearchProblem, budget: Budget, networks: DerivedNetworks) -> None:
    least_s, most_s = networks.range_s()
    if not least_s <= budget.value <= most_s:
        raise InvalidSearch(
            f"budget {budget}: networks that cosearch can find in {problem.space.name} take "
            f"{budget.text(least_s)} to {budget.text(most_s)} ({problem.where()})"
        )


def _loaders(problem: SearchProblem, recipe: CosearchRecipe, ranks: Ranks) -> Loaders:
    """Training frames are shuffled once; weights learn from the first half, logits from the second."""
    frames = problem.data.frames("train")
    order = np.random.default_rng(recipe.seed).permutation(len(frames)).tolist()
    first, second = (frames.subset(half) for half in (order[: len(order) // 2], order[len(order) // 2 :]))

    def loader(half: Frames, crop: tuple[int, int], batch_size: int, number: int) -> TrainLoader:
        return train_loader(
            half,
            Augmentation(crop, recipe.scale, recipe.flip, recipe.colour, recipe.scales),
            batch_size=ranks.share(batch_size),
            workers=recipe.workers,
            seed=recipe.seed + number,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )

    before = recipe.pretraining
    return Loaders(
        loader(first, before.crop, before.batch_size, 0),
        loader(first, recipe.crop, recipe.batch_size, 1),
        loader(second, recipe.crop, recipe.batch_size, 2),
    )


def _teacher(problem: SearchProblem, space: FastersegSpace, found: Handed) -> Architecture:
    """Its file."""
    origin = (
        f"the teacher of a search on {problem.data.name} for {problem.target} by {problem.strategy}; "
        f"estimated {found.latency_s * 1e3:.3g} ms, in the search {problem.task.shown(found.reward)}"
    )
    return architecture_for(space, found.genotype, problem.data, name=TEACHER, origin=origin)
