"""Whether a recipe's batches are enough for a network's normalisations."""

from cost_models.ir.graph import Graph
from cost_models.ir.ops import BatchNorm2d, Standardize
from search.errors import InvalidRecipe
from search.training.recipe import Recipe


def check_batches(graph: Graph, recipe: Recipe) -> None:
    """Of one image, a map that was averaged to a pixel has one value a channel: statistics of it say nothing.

    Args:
        graph: of one input, as it is trained.

    Raises InvalidRecipe naming the stage and the normalisation.
    """
    for stage in recipe.training:
        if stage.batch_size > 1 or stage.freeze_norms:
            continue
        shapes = graph.shapes({graph.inputs[0]: (1, 3, *stage.crop)})
        norms = (node.name for node in graph.nodes if isinstance(node.op, BatchNorm2d | Standardize))
        if lone := next((name for name in norms if shapes[name][2:] == (1, 1)), None):
            raise InvalidRecipe(
                f"stage {stage.name}: batch_size is 1, too few for this network: {lone} would normalise "
                "single values; allowed: 2 or more, over all processes, or freeze_norms: true"
            )
