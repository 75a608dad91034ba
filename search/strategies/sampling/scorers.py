"""How accurate a network is that a search tries out: as a path through a supernet, or trained briefly."""

from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.strategies.sampling.paths import PathScorer
from search.strategies.sampling.progressive import ProgressiveScorer
from search.strategies.sampling.recipe import (
    PathScoring,
    ProgressiveScoring,
    SampledRecipe,
    TrainingScoring,
)
from search.strategies.sampling.sampled import Finals
from search.strategies.sampling.scorer import Scorer
from search.strategies.sampling.trained import TrainingScorer


def make_scorer(
    problem: SearchProblem, recipe: SampledRecipe, ranks: Ranks, *, goes_on: bool = False
) -> Scorer:
    """As the recipe says.

    Args:
        goes_on: whether it is to be restored, and needs no weights to begin with.

    Raises InvalidSearch for paths in a space that has no supernet, and what ``begin_with`` and
    ``ProgressiveScorer`` do.
    """
    if isinstance(recipe.scoring, PathScoring):
        return PathScorer(problem, recipe, recipe.scoring, ranks, goes_on=goes_on)
    if isinstance(recipe.scoring, ProgressiveScoring):
        return ProgressiveScorer(problem, recipe, recipe.scoring, ranks)
    return TrainingScorer(problem, recipe, recipe.scoring, ranks)


def final_scoring(problem: SearchProblem, recipe: SampledRecipe, ranks: Ranks) -> Finals | None:
    """How the best are scored once more: by longer trainings, where the recipe says so."""
    scoring = recipe.scoring
    if not isinstance(scoring, TrainingScoring) or scoring.final_epochs is None:
        return None
    longer = scoring.model_copy(update={"epochs": scoring.final_epochs})
    return Finals(scoring.finalists, lambda: TrainingScorer(problem, recipe, longer, ranks))
