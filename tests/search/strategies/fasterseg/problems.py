"""Searches of a grid that are as small as can be."""

from typing import Any

from search.problem.problem import SearchProblem

from ..helpers import GRID, problem, with_budget


def cosearch(share: float = 0.18, **changes: Any) -> SearchProblem:
    """On drawn scenes, by the Xavier's prior.

    Args:
        share: of the way from the cheapest network to the dearest, the budget; the usual one is below what
            three steps lead to.
        changes: of the tiny recipe.
    """
    return with_budget(problem(strategy="cosearch", space=GRID, budget="3ms", **changes), share)
