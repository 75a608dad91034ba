"""Search: which architecture. The modules are imported by their own names; recipes load without PyTorch."""

from search.problem.goal import Budget, Mix
from search.strategies.gumbel.recipe import SearchRecipe, list_search_recipes, load_search_recipe

__all__ = ["Budget", "Mix", "SearchRecipe", "list_search_recipes", "load_search_recipe"]
