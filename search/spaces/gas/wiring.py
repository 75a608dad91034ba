"""A cell's nodes in the graph of a network, in the order in which its kernels are cut."""

from dataclasses import dataclass, field

from cost_models.ir.graph import GraphBuilder
from search.spaces.gas.chain import EDGES, INPUTS, NODES, CellChain
from search.spaces.gas.names import slot
from search.spaces.gas.nodes import summed
from search.spaces.gas.operations import kind_of, output_graph, sum_graph, wants_relu
from search.spaces.gas.parts import edge_part_graph, input_part_graph
from search.spaces.gas.walk import LiveCell


@dataclass
class CellWiring:
    """Adds a cell to a graph.

    Attributes:
        borders: values at which its parts end.
    """

    chain: CellChain
    cell: LiveCell
    net: GraphBuilder
    borders: list[str] = field(default_factory=list)

    def build(self, *inputs: str) -> str:
        """The name of what the cell gives; ``inputs``: what its two inputs are, where they are there."""
        raw: dict[int, str] = {}
        relu: dict[int, str] = {}
        for source in range(INPUTS):
            if self.cell.readers(source):
                self._input(source, inputs[source], raw, relu)
        nodes = []
        for node in range(1, NODES + 1):
            if self.cell.nodes[node - 1]:
                raw[INPUTS + node - 1] = self._node(node, raw, relu)
                nodes.append(raw[INPUTS + node - 1])
        last = self.cell.index == self.chain.cells - 1
        (given,) = self.net.embed(slot(self.cell.index, "out"), output_graph(len(nodes), last=last), *nodes)
        self.borders += [*nodes, given]
        return given

    def _input(self, source: int, x: str, raw: dict[int, str], relu: dict[int, str]) -> None:
        """What brings an input to the cell's channels, as far as edges read it."""
        as_it_is, after_relu = self.cell.wanted(source, strided=self.chain.reduces(self.cell.index))
        graph = input_part_graph(
            *(self.chain, self.cell.index, source, self.cell.coming[source]), raw=as_it_is, relu=after_relu
        )
        values = list(self.net.embed(slot(self.cell.index, f"in{source}"), graph, x))
        self.borders += values
        if as_it_is:
            raw[source] = values[0]
        if after_relu:
            relu[source] = values[-1]

    def _node(self, node: int, raw: dict[int, str], relu: dict[int, str]) -> str:
        """The sum of the edges into a node."""
        index, edges = self.cell.index, self.cell.into(node)
        kinds = [kind_of(operation, strided=self._strided(place)) for place, operation in edges]
        how = summed(kinds)
        values: list[str] = []
        for at in how.order:
            place, operation = edges[at]
            edge = EDGES[place]
            ready = edge.from_input and wants_relu(operation, strided=self._strided(place))
            # what the first of them adds comes behind the others
            ending = "" if how.endings[at].startswith("+") else how.endings[at]
            graph = edge_part_graph(self.chain, index, edge, operation, ending)
            x = (relu if ready else raw)[edge.source]
            values += self.net.embed(slot(index, edge.name), graph, x)
        if len(how.order) == 1:
            return values[0]
        graph = sum_graph(how.alone or ("map",) * len(values))
        self.borders += [] if how.alone else values[1:]
        (total,) = self.net.embed(slot(index, f"sum{node}"), graph, *values)
        return total

    def _strided(self, place: int) -> bool:
        return EDGES[place].from_input and self.chain.reduces(self.cell.index)
