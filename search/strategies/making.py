"""A strategy for a problem, new or as a checkpoint left it."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from search.errors import InvalidSearch, SearchError
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.problem.strategy import Remapped, SearchStrategy
from search.remapping.donor import find_donor
from search.spaces.space import Genotype
from search.strategies.fastdense.chooser import PolicyChooser
from search.strategies.fasterseg import making as fasterseg
from search.strategies.gas import making as gas
from search.strategies.gumbel import making as gumbel
from search.strategies.sampling.choosers import Chooser, EvolutionChooser, RandomChooser
from search.strategies.sampling.recipe import EvolutionRecipe, PpoRecipe, SampledRecipe
from search.strategies.sampling.sampled import SampledSearch
from search.strategies.sampling.scorers import final_scoring, make_scorer

State = Mapping[str, Any]

_log = logging.getLogger(__name__)
_AROUND = ("schema_version", "fingerprint", "rows", "losses")  # what is not the strategy's of a checkpoint


def make_strategy(problem: SearchProblem, ranks: Ranks, state: State | None) -> SearchStrategy:
    """By ``problem.strategy``. Raises InvalidSearch where it does not go with the space."""
    return MAKERS[problem.strategy](problem, ranks, state)


def check_strategy(problem: SearchProblem) -> None:
    """What can be said before costs and data are looked at. Raises InvalidSearch."""
    if problem.strategy in CHECKS:
        CHECKS[problem.strategy](problem)


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of an older release as it would be written now."""
    if "search" in state:
        return state
    flat = gumbel.upgraded(state)  # there was no other strategy
    around = {name: flat.pop(name) for name in _AROUND if name in flat}
    return {**around, "search": flat}


def _make_sampled(problem: SearchProblem, ranks: Ranks, state: State | None) -> SampledSearch:
    recipe = cast(SampledRecipe, problem.recipe)
    scorer = make_scorer(problem, recipe, ranks, goes_on=state is not None)
    search = SampledSearch(
        problem,
        scorer,
        _chooser(problem, recipe),
        ranks,
        candidates=recipe.candidates,
        seed=recipe.seed,
        finals=final_scoring(problem, recipe, ranks),
    )
    search.remapped = scorer.remapped if isinstance(scorer, Remapped) else None
    if state:
        search.restore(state)
    return search


def _chooser(problem: SearchProblem, recipe: SampledRecipe) -> Chooser:
    if isinstance(recipe, PpoRecipe):
        return PolicyChooser(problem, recipe)
    if isinstance(recipe, EvolutionRecipe):
        return EvolutionChooser(problem, recipe, _donor(problem, recipe))
    return RandomChooser(problem)


def _donor(problem: SearchProblem, recipe: EvolutionRecipe) -> Genotype | None:
    """The network that evolution begins near, if it is to. Raises InvalidSearch where there is none."""
    if recipe.begin == "random":
        return None
    init = getattr(recipe.scoring, "init", None)
    if init is None:
        raise InvalidSearch(
            f"recipe {recipe.name} begins with the network whose weights it is given: name them, --init "
            "WEIGHTS, or let it begin at random (begin: random)"
        )
    donor = find_donor(init).architecture
    try:
        return problem.space.check(donor.genotype)
    except SearchError:
        _log.warning(
            "%s is of %s, no network of space %s: the first networks are drawn at random, none is near it",
            init,
            donor.name,
            problem.space.name,
        )
        return None


MAKERS: Mapping[str, Callable[[SearchProblem, Ranks, State | None], SearchStrategy]] = {
    "gumbel": gumbel.make_gumbel,
    "random": _make_sampled,
    "evolution": _make_sampled,
    "ppo": _make_sampled,
    "cosearch": fasterseg.make_cosearch,
    "gas": gas.make_gas,
}
CHECKS: Mapping[str, Callable[[SearchProblem], object]] = {
    "gumbel": gumbel.chain_of,
    "cosearch": fasterseg.check_cosearch,
    "gas": gas.check_gas,
}
"""Of strategies that do not go with every space."""
