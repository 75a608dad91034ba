"""The strategies by name, and their recipes. No PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from search.problem.strategy import SearchRecipe
from search.strategies.gumbel import recipe as gumbel
from search.strategies.sampling import recipe as sampling

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class StrategyInfo:
    """What is known of a strategy before it runs.

    Attributes:
        load_recipe: by name or file, with other values of some keys; ``list_recipes`` names the shipped ones.
        free: keys of the fingerprint that a resumed search may have otherwise: how it is computed, and what
            comes after it.
    """

    summary: str
    load_recipe: Callable[[str | Path, Changes], SearchRecipe]
    list_recipes: Callable[[], list[str]]
    free: tuple[str, ...]


STRATEGIES: Mapping[str, StrategyInfo] = {
    "gumbel": StrategyInfo(
        "a supernet's weights and distribution by gradient descent (SqueezeNAS)",
        gumbel.load_recipe,
        gumbel.list_recipes,
        ("recipe.workers", "recipe.checkpointing", "recipe.compile", "recipe.path_training"),
    ),
    "random": StrategyInfo(
        "networks at random within the budget, scored one by one",
        partial(sampling.load_recipe, "random"),
        partial(sampling.list_recipes, "random"),
        ("recipe.workers",),
    ),
    "evolution": StrategyInfo(
        "regularised evolution within the budget",
        partial(sampling.load_recipe, "evolution"),
        partial(sampling.list_recipes, "evolution"),
        ("recipe.workers",),
    ),
}
