"""Heads for tests."""

from cost_models.ir.graph import Graph
from search.spaces.space import Head


def bare_head(outputs: int) -> Head:
    """Gives the last map itself: of numbers an error can be told, of classes not."""
    return Head(outputs, Graph(("x",), (), ("x",)))
