"""What all search spaces share."""

from dataclasses import dataclass

from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape


@dataclass(frozen=True)
class Part:
    """A piece of a network whose cost is counted on its own: a graph and the shapes of its inputs."""

    name: str
    graph: Graph
    inputs: dict[str, Shape]
