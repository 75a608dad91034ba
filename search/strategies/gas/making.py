"""A search after GAS of a problem, new or as a checkpoint left it."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch

from search.errors import InvalidRecipe, InvalidResolution, InvalidSearch
from search.networks.beginning import begin_quietly
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.resolution import Resolution
from search.spaces.gas.space import GasSpace
from search.strategies.gas.gas import GasSearch
from search.strategies.gas.latency import EdgeLatency
from search.strategies.gas.messages import Messages
from search.strategies.gas.penalty import LogPenalty
from search.strategies.gas.recipe import GasRecipe
from search.strategies.loading import loader_of
from search.supernet.gas.supernet import CellSupernet
from search.supernet.path_judge import Judgement, PathJudge


def make_gas(problem: SearchProblem, ranks: Ranks, state: Mapping[str, Any] | None) -> GasSearch:
    """The strategy.

    Raises:
        InvalidSearch: it does not go with the space or with what is paid for, or latencies are 0.
        InvalidRecipe: crops that the cells do not take.
    """
    recipe, space, budget = cast(GasRecipe, problem.recipe), check_gas(problem), problem.budget
    _check_crop(recipe, space)
    data, head = problem.data, problem.head
    supernet = CellSupernet(space, head.outputs, stride=head.stride, form=recipe.form)
    begin_quietly(supernet.decoder, head)
    supernet.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape = cast(tuple[int, int, int], tuple(supernet.logits.shape))
    about: dict[str, Any] = {"sends": recipe.sends, "gamma": recipe.gamma, "hidden": recipe.hidden}
    messages = Messages(shape, recipe.message, **about).to(ranks.device)
    latency = EdgeLatency.of(problem.costs.model, space, problem.resolution, head)
    budget_s = budget.value if budget else None
    penalty = LogPenalty(latency, recipe.resource_weight, budget_s, ranks.device)
    loader = loader_of(problem, recipe, ranks)
    loss = problem.task.loss(recipe.loss, data.frames("train"), head.outputs, ranks)
    judging = recipe.judging
    by = Judgement(judging.frames, judging.calibration_batches, recipe.crop, recipe.batch_size, recipe.seed)
    extract = partial(supernet.extract, head=head)
    judge = partial(PathJudge, space, extract, problem.task, data, by, ranks)
    search = GasSearch(
        *(supernet, messages, recipe, loader, latency, penalty, problem.costs, budget, loss, ranks, judge)
    )
    if state:
        search.restore(state)
    return search


def check_gas(problem: SearchProblem) -> GasSpace:
    """The space. Raises InvalidSearch where the strategy does not go with it or with what is paid for."""
    space, budget, paid = problem.space, problem.budget, str(problem.mix)
    if not isinstance(space, GasSpace):
        raise InvalidSearch(
            f"strategy gas searches chains of independent cells, which space {space.name} is not; allowed: "
            "--space gas, gas-wide"
        )
    if paid != "latency" or (budget and budget.name != "latency"):
        raise InvalidSearch(
            f"strategy gas pays for the latency's logarithm: found budget {budget}, objective {paid}; "
            "allowed: --budget with a time such as 10ms or none, and no other --objective"
        )
    return space


def _check_crop(recipe: GasRecipe, space: GasSpace) -> None:
    try:
        stride, crop = space.chain.stride, space.check_resolution(Resolution(*recipe.crop))
    except InvalidResolution as error:
        raise InvalidRecipe(f"recipe {recipe.name}, crop: {error}") from None
    if any(side % stride for side in crop):
        nearest = [max(round(side / stride) * stride, space.chain.least_side) for side in crop]
        raise InvalidRecipe(
            f"recipe {recipe.name}, crop: found {list(crop)}; allowed: sides that {stride} divides, the "
            f"nearest is {nearest}"
        )
