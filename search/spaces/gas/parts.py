"""Every part that a network of cells may have: inputs, edges, sums and outputs of its cells."""

from collections.abc import Iterator
from itertools import product

from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from search.spaces.gas.chain import EDGES, INPUTS, NODES, CellChain, Edge
from search.spaces.gas.names import edge_name, input_name, output_name, slot, sum_name
from search.spaces.gas.nodes import HALVES, summed
from search.spaces.gas.operations import (
    Kind,
    edge_graph,
    input_graph,
    kind_of,
    output_graph,
    sum_graph,
    wants_relu,
)
from search.spaces.space import Part

Size = tuple[int, int]


def cell_parts(chain: CellChain, cell: int, size: Size) -> Iterator[Part]:
    """Of one cell; ``size``: height and width of what the cell before it gave."""
    after = (size[0] // 2, size[1] // 2) if chain.reduces(cell) else size
    yield from _inputs(chain, cell, size)
    for node in range(1, NODES + 1):
        yield from _sums(chain, cell, node, size, after)
    for nodes in chain.given:
        graph = output_graph(nodes, last=cell == chain.cells - 1)
        yield _part(output_name(cell, nodes), slot(cell, "out"), graph, chain.edge_channels(cell), after)


def edge_part_graph(chain: CellChain, cell: int, edge: Edge, operation: str, ending: str = "") -> Graph:
    """Of an edge's operation, by how the sum behind it is made, see ``nodes.Sum.endings``."""
    return edge_graph(
        operation,
        chain.edge_channels(cell),
        strided=edge.from_input and chain.reduces(cell),
        from_input=edge.from_input,
        adds=int(ending) if ending.startswith("+") else 0,
        whole=ending != HALVES,
    )


def input_part_graph(chain: CellChain, cell: int, source: int, nodes: int, *, raw: bool, relu: bool) -> Graph:
    """Of what brings an input, of which that many nodes are there, to the cell's channels."""
    return input_graph(
        chain.input_channels(cell, source, nodes),
        chain.edge_channels(cell),
        halves=chain.halves_input(cell, source),
        raw=raw,
        relu=relu,
    )


def _inputs(chain: CellChain, cell: int, size: Size) -> Iterator[Part]:
    wants = {wants_relu(o, strided=chain.reduces(cell)) for o in chain.live_operations}
    kinds = [(True, False), (False, True), (True, True)]
    for source in range(INPUTS):
        factor = 2 if chain.halves_input(cell, source) else 1
        own = (size[0] * factor, size[1] * factor)
        from_stem = cell - INPUTS + source < 0
        for nodes in (NODES,) if from_stem else chain.given:
            for raw, relu in kinds:
                if (not raw or False in wants) and (not relu or True in wants):
                    graph = input_part_graph(chain, cell, source, nodes, raw=raw, relu=relu)
                    name = input_name(cell, source, nodes, raw=raw, relu=relu)
                    channels = chain.input_channels(cell, source, nodes)
                    yield _part(name, slot(cell, f"in{source}"), graph, channels, own)


def _sums(chain: CellChain, cell: int, node: int, size: Size, after: Size) -> Iterator[Part]:
    edges, channels = [edge for edge in EDGES if edge.node == node], chain.edge_channels(cell)
    strided = [edge.from_input and chain.reduces(cell) for edge in edges]
    kinds = [list(dict.fromkeys(kind_of(o, strided=own) for o in chain.operations)) for own in strided]
    endings: list[dict[tuple[Kind | None, str], None]] = [{} for _ in edges]
    alone: dict[tuple[Kind, ...], None] = {}
    for combination in product(*kinds):
        how = summed(combination)
        for at in how.order:
            endings[at][combination[at], how.endings[at]] = None
        if how.alone:
            alone[how.alone] = None
    for at, edge in enumerate(edges):
        for operation in chain.live_operations:
            for kind, ending in endings[at]:
                if kind == kind_of(operation, strided=strided[at]):
                    graph = edge_part_graph(chain, cell, edge, operation, ending)
                    name = edge_name(cell, edge.name, operation + ending)
                    inputs: dict[str, Shape] = {"x": (1, channels, *(size if edge.from_input else after))}
                    inputs |= {added: (1, channels, *after) for added in graph.inputs[1:]}
                    yield Part(name, graph, inputs, slot(cell, edge.name))
    for terms in alone:
        graph = sum_graph(terms)
        pairs = {key for i, kind in enumerate(terms) if kind == "pair" for key in (f"x{i}", f"y{i}")}
        halves: dict[str, Shape] = {
            k: (1, channels // 2 if k in pairs else channels, *after) for k in graph.inputs
        }
        yield Part(sum_name(cell, node, terms), graph, halves, slot(cell, f"sum{node}"))


def _part(name: str, of: str, graph: Graph, channels: int, size: Size) -> Part:
    """All of whose inputs have one shape."""
    return Part(name, graph, {key: (1, channels, *size) for key in graph.inputs}, of)
