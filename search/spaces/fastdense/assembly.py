"""A network put together from its parts, each under the name of its place."""

from dataclasses import dataclass, field

from cost_models.ir.graph import Graph, GraphBuilder


@dataclass
class Assembly:
    """Grows a network part by part.

    Attributes:
        parts: names of those in it, as ``SearchSpace.parts`` has them.
        borders: what each of them makes; the last is the network's.
        owners: node -> the part that it is of.
        bare: only names are wanted; then no layer is added, and each part makes what its slot is called.
    """

    net: GraphBuilder = field(default_factory=GraphBuilder)
    parts: list[str] = field(default_factory=list)
    borders: list[str] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    bare: bool = False

    def add(self, slot: str, option: str, graph: Graph, *inputs: str, prefix: str | None = None) -> str:
        """A part and what it makes. ``prefix``: of its nodes, if that is not the slot."""
        value = slot
        if not self.bare:
            start = len(self.net.nodes)
            (value,) = self.net.embed(slot if prefix is None else prefix, graph, *inputs)
            self.owners |= {node.name: f"{slot}.{option}" for node in self.net.nodes[start:]}
        self.parts.append(f"{slot}.{option}")
        self.borders.append(value)
        return value
