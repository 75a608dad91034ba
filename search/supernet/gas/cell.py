"""A cell of the supernet: its inputs, and on each edge every operation."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.networks.graph_module import GraphModule
from search.spaces.gas.chain import EDGES, INPUTS, NODES, CellChain
from search.spaces.gas.operations import edge_graph
from search.spaces.gas.parts import input_part_graph
from search.supernet.gas.fused import fused_nodes

Form = Literal["plain", "fused"]


class MixedCell(nn.ModuleDict):
    """``in0`` and ``in1``; by edge the operations that are not zero, each with a ReLU of its own.

    Args:
        form: ``plain`` evaluates operations in turn, ``fused`` what is alike together (in training mode).
    """

    def __init__(self, chain: CellChain, index: int, form: Form) -> None:
        super().__init__()
        self._form, self._last = form, index == chain.cells - 1
        self._operations = chain.operations
        self.stride = 2 if chain.reduces(index) else 1
        channels = chain.edge_channels(index)
        for source in range(INPUTS):
            graph = input_part_graph(chain, index, source, NODES, raw=True, relu=False)
            self[f"in{source}"] = GraphModule(graph)
        for edge in EDGES:
            strided = edge.from_input and self.stride > 1
            graphs = {
                name: edge_graph(name, channels, strided=strided, from_input=False)
                for name in chain.live_operations
            }
            self[edge.name] = nn.ModuleDict({name: GraphModule(graph) for name, graph in graphs.items()})

    def forward(self, first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
        """What the cell gives, (N, 2C, H, W), after ReLU but for the decoder.

        Args:
            first, second: what the two cells before gave, after ReLU.
            weights: (edges, operations).
        """
        inputs = [self["in0"](first), self["in1"](second)]
        if self._form == "fused" and self.training and self._is_alone:
            nodes = fused_nodes(self, inputs, self._operations, weights)
        else:
            nodes = self._nodes(inputs, weights)
        given = torch.cat(nodes, 1)
        return given if self._last else functional.relu(given)

    @property
    def _is_alone(self) -> bool:
        """Whether statistics are of this process alone; others keep theirs in other normalisations."""
        norm = self.get_submodule("in1.project.bn")  # all of them are of one kind
        return type(norm) is nn.BatchNorm2d

    def _by_edge(self, weights: Tensor) -> dict[str, dict[str, Tensor]]:
        """Edge -> operation -> weight."""
        return {
            edge.name: dict(zip(self._operations, row.unbind(), strict=True))
            for edge, row in zip(EDGES, weights, strict=True)
        }

    def _nodes(self, inputs: list[Tensor], weights: Tensor) -> list[Tensor]:
        """Operation by operation."""
        by_edge = self._by_edge(weights)
        values: dict[int, Tensor] = dict(enumerate(inputs))
        for node in range(1, NODES + 1):
            terms = [
                share * self.operation(edge.name, name)(values[edge.source])
                for edge in EDGES
                if edge.node == node
                for name, share in by_edge[edge.name].items()
                if name in self.edge(edge.name)
            ]
            values[INPUTS + node - 1] = sum(terms[1:], terms[0])
        return [values[INPUTS], values[INPUTS + 1]]

    def edge(self, name: str) -> nn.ModuleDict:
        """The operations of an edge that are not zero."""
        found = self[name]
        assert isinstance(found, nn.ModuleDict)
        return found

    def operation(self, edge: str, name: str) -> GraphModule:
        """One of them."""
        found = self.edge(edge)[name]
        assert isinstance(found, GraphModule)
        return found
