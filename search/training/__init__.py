"""Training and evaluation of networks, on one process or many.

Recipes are plain data and load without PyTorch; the other modules are imported by their own names.
"""

from search.training.recipe import Recipe, Stage, dump_recipe, list_recipes, load_recipe

__all__ = ["Recipe", "Stage", "dump_recipe", "list_recipes", "load_recipe"]
