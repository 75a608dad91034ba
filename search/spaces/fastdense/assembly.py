"""A network put together from its parts, each under the name of its place."""

from dataclasses import dataclass, field

from cost_models.ir.graph import Graph, GraphBuilder


@dataclass
class Assembly:
    """Grows a network part by part.

    Attributes:
        parts: names of those in it, as ``SearchSpace.parts`` has them.
        borders: what each of them makes.
    """

    net: GraphBuilder = field(default_factory=GraphBuilder)
    parts: list[str] = field(default_factory=list)
    borders: list[str] = field(default_factory=list)

    def add(self, slot: str, option: str, graph: Graph, *inputs: str, prefix: str | None = None) -> str:
        """A part and what it makes. ``prefix``: of its nodes, if that is not the slot."""
        (value,) = self.net.embed(slot if prefix is None else prefix, graph, *inputs)
        self.parts.append(f"{slot}.{option}")
        self.borders.append(value)
        return value
