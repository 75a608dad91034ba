"""Batches of training frames, as a strategy's recipe has them."""

from search.data.loaders import Augmentation, TrainLoader, train_loader
from search.parallel.ranks import Ranks
from search.problem.problem import SearchProblem
from search.strategies.learning_recipe import LearningRecipe


def loader_of(problem: SearchProblem, recipe: LearningRecipe, ranks: Ranks) -> TrainLoader:
    """Each process's share of them."""
    return train_loader(
        problem.data.frames("train"),
        Augmentation(recipe.crop, recipe.scale, recipe.flip, recipe.colour),
        batch_size=ranks.share(recipe.batch_size),
        workers=recipe.workers,
        seed=recipe.seed,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
