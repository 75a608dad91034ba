"""The networks of a chain of cells as a search space: one operation on each edge of each cell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.memory import steps
from cost_models.ir.ops import Pad, Shape
from search.errors import InvalidArchitecture, InvalidResolution
from search.resolution import Resolution
from search.spaces.camera import camera_network, with_head
from search.spaces.drawing import Graphs, Point, SmallGraph, Wire
from search.spaces.gas import marginals
from search.spaces.gas.chain import EDGES, INPUTS, NODES, ZERO, CellChain
from search.spaces.gas.names import DECODER, decoder_name
from search.spaces.gas.operations import decoder_graph, frame_part, stem_graph
from search.spaces.gas.parts import Size, cell_parts
from search.spaces.gas.walk import LiveCell, decision, live_cells
from search.spaces.gas.wiring import CellWiring
from search.spaces.space import A, Decision, Genotype, Head, Part, any_option, checked, one_hot


@dataclass(frozen=True, kw_only=True)
class GasSpace:
    """Stem, cells of which each has its own operations, decoder.

    A genotype says for each edge of each cell what stands there (``cells.3.in0_1``: of cell 3, from its input
    0 to its node 1). ``zero`` and ``skip`` are nothing that runs: a zero's edge is not there, nor what reads
    nothing else, nor what nobody reads.
    """

    name: str
    summary: str
    chain: CellChain

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Edges of the cells, cell by cell."""
        options, cells = self.chain.operations, range(self.chain.cells)
        return tuple(Decision(decision(cell, edge.name), options) for cell in cells for edge in EDGES)

    def check(self, genotype: Genotype) -> dict[str, str]:
        """The genotype in order.

        Raises:
            UnknownCandidate: naming every wrong option.
            InvalidArchitecture: decisions are missing, no cell leads from the image to the decoder, or a cell
                gives nothing but zeros where the space refuses that.
        """
        chosen = checked(self, genotype)
        cells = live_cells(self.chain, chosen)
        empty = [cell.index for cell in cells if not cell.given]
        if empty and (self.chain.empty == "refused" or not cells[-1].given):
            said = ", ".join(map(str, empty[:3] if self.chain.empty == "refused" else [cells[-1].index]))
            raise InvalidArchitecture(
                f"space {self.name}: cell {said} gives nothing but zeros"
                + (", the decoder's map" if not cells[-1].given else "")
                + f"; allowed: an operation other than {ZERO} on an edge that reads what is there"
            )
        return chosen

    def check_resolution(self, resolution: Resolution) -> Resolution:
        """Any on which the decoder's windows see more than one pixel; sides are filled up, the result cut.

        Raises InvalidResolution naming the nearest that works.
        """
        least = self.chain.least_side
        if min(resolution.checked()) < least:
            nearest = Resolution(*(max(side, least) for side in resolution))
            raise InvalidResolution(
                f"resolution {resolution}: the decoder of {self.name} gets a {self.chain.stride}th of it, on "
                f"which its windows see nothing but zeros; the nearest that works is {nearest}"
            )
        return resolution

    def sample(self, random: np.random.Generator) -> dict[str, str]:
        """Every network of the space as likely as the others."""
        while True:
            drawn = any_option(self, random)
            try:
                return self.check(drawn)
            except InvalidArchitecture:  # rare: a way of zeros
                continue

    def stem_graph(self) -> Graph:
        """Layers from the image to the map that the first cells read."""
        return stem_graph(self.chain.stem_channels(), self.chain.stem_strides)

    def decoder_graph(self, outputs: int, nodes: int = NODES) -> Graph:
        """Layers from that many nodes of the last cell to the head's outputs."""
        last = self.chain.edge_channels(self.chain.cells - 1)
        return decoder_graph(self.chain.decoder, nodes * last, outputs)

    def network(self, genotype: Genotype, head: Head) -> Graph:
        """The whole network: float image ``x`` (N, 3, H, W), normalised -> (N, outputs, H, W)."""
        return self._build(genotype, head)[0]

    def borders(self, genotype: Genotype) -> tuple[str, ...]:
        """The filled image, and what the stem, inputs, nodes and outputs of cells are."""
        return self._build(genotype, Head(1, Graph(("x",), (), ("x",))))[1]

    def _build(self, genotype: Genotype, head: Head) -> tuple[Graph, tuple[str, ...]]:
        """The network and its borders."""
        cells, net = live_cells(self.chain, self.check(genotype)), GraphBuilder()
        image = net.add("pad", Pad(self.chain.stride), "x")
        (stem,) = net.embed("stem", self.stem_graph(), image)
        given: dict[int, list[str]] = {-2: [stem], -1: [stem]}
        borders = [image, stem]
        for cell in cells:
            if not cell.is_read or not cell.given:
                given[cell.index] = []
                continue
            wiring = CellWiring(self.chain, cell, net)
            given[cell.index] = [
                wiring.build([*given[cell.index - 2], ""][0], [*given[cell.index - 1], ""][0])
            ]
            borders += wiring.borders
        decoder = self.decoder_graph(head.outputs, cells[-1].given)
        (last,) = net.embed(DECODER, decoder, given[cells[-1].index][0], image, "x")
        return head.ending(net.build(last)), tuple(dict.fromkeys(borders))

    def parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        """Inputs, edges, sums and outputs of every cell, decoders, and what is always there."""
        chain = self.chain
        padded = self._size(resolution, 1)
        yield Part("frame", frame_part(chain.stride), {"frame": (1, *resolution, 3)})
        yield Part("stem", self.stem_graph(), {"x": (1, 3, *padded)})
        for cell in range(chain.cells):
            yield from cell_parts(chain, cell, self._size(resolution, chain.divisor(cell - 1)))
        channels, size = chain.edge_channels(chain.cells - 1), self._size(resolution, chain.stride)
        for nodes in chain.given:
            inputs: dict[str, Shape] = {
                "x": (1, nodes * channels, *size),
                "padded": (1, 3, *padded),
                "image": (1, 3, *resolution),
            }
            graph = with_head(self.decoder_graph(head.outputs, nodes), head, resolution)
            yield Part(decoder_name(nodes), graph, inputs, DECODER)

    def _size(self, resolution: Resolution, divisor: int) -> Size:
        """Height and width of a map whose sides are so many times smaller than those of the filled image."""
        height, width = (-(-side // self.chain.stride) * self.chain.stride for side in resolution)
        return height // divisor, width // divisor

    def marginals(self, probabilities: Mapping[str, A]) -> dict[str, A]:
        """A part runs as often as its cell is read, its inputs are there and its edges are drawn so."""
        return marginals.marginals(self.chain, probabilities)

    def peak_bytes(self, resolution: Resolution, head: Head) -> dict[str, float]:
        """Of what is always there, and the decoder, exact.

        What waits beside a cell's part hangs on its other edges: it is the most of networks of one operation
        everywhere; of a part that none of them has, the least that the cell has there.
        """
        most: dict[str, float] = {}
        cells: dict[str, list[float]] = {}
        for genotype in self._plain_genotypes():
            runs = self.marginals(one_hot(self, [genotype]))
            owners = {name.rpartition(".")[0]: name for name, times in runs.items() if times[0]}
            owners |= {"normalize": "frame", "pad": "frame"}
            owners |= {node.name: owners[DECODER] for node in head.after.nodes}
            network = camera_network(self.network(genotype, head), head)
            own: dict[str, float] = {}
            for step in steps(network, {"frame": (1, *resolution, 3)}):
                node, alive = step.call.nodes[0], float(step.alive)
                first, *rest = node.split(".")
                owner = owners.get(node) or owners.get(".".join((first, *rest[:2])), owners.get(first, first))
                most[owner] = max(most.get(owner, 0.0), alive)
                own[_cell(owner)] = max(own.get(_cell(owner), 0.0), alive)
            for cell, alive in own.items():
                cells.setdefault(cell, []).append(alive)
        names = [part.name for part in self.parts(resolution, head)]
        return {name: most.get(name, min(cells.get(_cell(name), [0.0]))) for name in names}

    def _plain_genotypes(self) -> Iterator[dict[str, str]]:
        """Networks of one operation everywhere, and one whose last cell has a single node."""
        for operation in self.chain.live_operations:
            yield {own.name: operation for own in self.decisions}
        if 1 in self.chain.given:
            last = {decision(self.chain.cells - 1, edge.name): ZERO for edge in EDGES if edge.node > 1}
            yield {own.name: self.chain.live_operations[0] for own in self.decisions} | last

    def slot_label(self, slot: str) -> str:
        """``cell 3, input 0 to node 1``."""
        if slot == DECODER:
            return slot
        _, cell, place = slot.split(".")
        if place.startswith("in") and "_" not in place:
            return f"cell {cell}, input {place[2:]}"
        if place.startswith("sum"):
            return f"cell {cell}, sum of node {place[3:]}"
        edge = next((edge for edge in EDGES if edge.name == place), None)
        if edge is None:
            return f"cell {cell}, output"
        source = f"input {edge.source}" if edge.source < INPUTS else f"node {edge.source - INPUTS + 1}"
        return f"cell {cell}, {source} to node {edge.node}"

    def drawing(self, genotype: Genotype) -> Graphs:
        """Every cell, with the operations that are there on its edges."""
        return Graphs(tuple(map(self._drawn, live_cells(self.chain, self.check(genotype)))))

    def _drawn(self, cell: LiveCell) -> SmallGraph:
        chain, is_there = self.chain, cell.is_read and cell.given > 0
        there = [is_there and on for on in (cell.coming[0] > 0, cell.coming[1] > 0, *cell.nodes)]
        names = [(f"input {source}", 0, source) for source in range(INPUTS)]
        names += [(f"node {node}", node, node - 1) for node in range(1, NODES + 1)]
        points = tuple(Point(*name, on) for name, on in zip(names, there, strict=True))
        kept = [own if own != ZERO and is_there else "" for own in cell.operations]
        wires = zip(EDGES, (own.replace("_3x3", "") for own in kept), strict=True)
        said = [f"{chain.edge_channels(cell.index)} channels at 1/{chain.divisor(cell.index)}"]
        said += ["halves the map"] * chain.reduces(cell.index)
        said += [] if is_there else ["left out: it gives nothing" if not cell.given else "left out: not read"]
        drawn = tuple(Wire(edge.source, INPUTS + edge.node - 1, own) for edge, own in wires)
        return SmallGraph(f"cell {cell.index}", ", ".join(said), points, drawn)

    def short_form(self, genotype: Genotype) -> list[str] | None:
        """A cell each: its operations in the order of its edges."""
        cells = range(self.chain.cells)
        return [" ".join(genotype[decision(cell, edge.name)] for edge in EDGES) for cell in cells]

    def from_short_form(self, options: Sequence[str]) -> dict[str, str]:
        """The genotype of such a list. Raises InvalidArchitecture, UnknownCandidate."""
        if len(options) != self.chain.cells:
            raise InvalidArchitecture(f"space {self.name}: {len(options)} cells, has {self.chain.cells}")
        cells = [option.split() for option in options]
        wrong = [
            f"cell {index} has {len(own)} operations"
            for index, own in enumerate(cells)
            if len(own) != len(EDGES)
        ]
        if wrong:
            order = ", ".join(edge.name for edge in EDGES)
            raise InvalidArchitecture(
                f"space {self.name}: {'; '.join(wrong[:3])}; allowed: {len(EDGES)}, one an edge: {order}"
            )
        pairs = (zip(EDGES, own, strict=True) for own in cells)
        return self.check(
            {decision(cell, edge.name): name for cell, own in enumerate(pairs) for edge, name in own}
        )


def _cell(name: str) -> str:
    """Of a part, the cell that it is in; of others, themselves."""
    return ".".join(name.split(".")[:2])
