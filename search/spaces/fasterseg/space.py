"""The networks of a grid as a search space: two branches, their cells, widths and paths."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.memory import peak_bytes, steps
from cost_models.ir.ops import Pad, Shape
from search.errors import InvalidArchitecture
from search.resolution import Resolution
from search.spaces.camera import camera_network, with_head
from search.spaces.drawing import Box, Drawing
from search.spaces.fasterseg import marginals
from search.spaces.fasterseg.branches import (
    BRANCHES,
    Branch,
    BranchName,
    Cell,
    shared_cells,
    walk,
    width_before,
)
from search.spaces.fasterseg.grid import FULL, OPERATIONS, SKIP, Grid
from search.spaces.fasterseg.operations import (
    auxiliary_head,
    cell_graph,
    frame_part,
    fusion_graph,
    merge_graph,
    stem_graph,
)
from search.spaces.fasterseg.parts import CellPart, cell_parts
from search.spaces.fasterseg.published import cell_row, fusion_rows, merge_rows, stem_rows
from search.spaces.space import A, Decision, Genotype, Head, Part, any_option, checked

MERGES = ("decoder.deep.second", "decoder.deep.first", "decoder.fine.first")
"""Slots of the pieces that bring a branch's map to the finer scales."""
FUSION = "decoder.fusion"


@dataclass(frozen=True, kw_only=True)
class FastersegSpace:
    """Stem, two branches that begin as one, and the heads that bring them together.

    A genotype says for each branch at which layers it goes to the next scale (``path.deep``, ``path.fine``),
    what stands at each layer (``cells.deep.3``; ``skip``: nothing, unless the branch goes down there) and how
    wide the map is that leaves it (``width.deep.3``, in twelfths); and where the fine branch ends
    (``branches``). What concerns layers that are left out, or a path that is not gone, changes nothing.

    Branches are one as long as all of it is alike and none has ended; from there on they stay apart.
    """

    name: str
    summary: str
    grid: Grid

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The pair of branches, paths, then cells and widths of both branches."""
        grid = self.grid
        pairs = tuple(f"{grid.scale_name(2)} + {grid.scale_name(scale)}" for scale in (1, 0))
        found = [
            Decision("branches", pairs, "wiring"),
            Decision("path.deep", tuple(map(_layers, grid.paths_to_third)), "path"),
            Decision("path.fine", tuple(_layers((layer,)) for layer in grid.paths_to_second), "path"),
        ]
        widths = tuple(f"{width}/{FULL}" for width in grid.widths)
        for branch in BRANCHES:
            layers = range(grid.layers)
            found += [Decision(f"cells.{branch}.{i}", grid.operations, "operation") for i in layers]
            if len(widths) > 1:
                found += [Decision(f"width.{branch}.{i}", widths, "width") for i in layers[:-1]]
        return tuple(found)

    def check(self, genotype: Genotype) -> dict[str, str]:
        """The genotype in order. Raises InvalidArchitecture, UnknownCandidate naming every wrong option."""
        return checked(self, genotype)

    def check_resolution(self, resolution: Resolution) -> Resolution:
        """Any: an image is filled up to sides that the last scale divides, and the result is cut."""
        return resolution.checked()

    def sample(self, random: np.random.Generator) -> dict[str, str]:
        """Every option as likely as the others of its decision."""
        return any_option(self, random)

    def branch(self, genotype: Genotype, name: BranchName) -> Branch:
        """Its cells, in order."""
        grid, chosen = self.grid, self.check(genotype)
        downs: tuple[int, ...] = ()
        if name == "deep":
            downs = dict(zip(map(_layers, grid.paths_to_third), grid.paths_to_third, strict=True))[
                chosen["path.deep"]
            ]
        elif self.ends_at_second(chosen):
            downs = (int(chosen["path.fine"].rpartition(" ")[2]),)
        operations = {layer: chosen[f"cells.{name}.{layer}"] for layer in range(grid.layers)}
        widths = {
            layer: int(chosen.get(f"width.{name}.{layer}", f"{grid.widths[0]}/").split("/")[0])
            for layer in range(grid.layers - 1)
        }
        return walk(grid, operations, widths, downs)

    def ends_at_second(self, genotype: Genotype) -> bool:
        """Whether the fine branch ends at the second scale; else at the first."""
        return genotype["branches"] == self.decisions[0].options[0]

    def idle(self, genotype: Genotype) -> frozenset[str]:
        """Decisions that change nothing in the network: widths behind layers without a cell and behind the
        last one, and a path that is not gone."""
        found = set() if self.ends_at_second(self.check(genotype)) else {"path.fine"}
        for name in BRANCHES:
            chosen = {f"width.{name}.{cell.layer}" for cell in self.branch(genotype, name)[:-1]}
            own = (decision.name for decision in self.decisions if decision.kind == "width")
            found |= {width for width in own if width.startswith(f"width.{name}.")} - chosen
        return frozenset(found)

    def branches(self, genotype: Genotype) -> tuple[Branch, Branch, int]:
        """The deep and the fine one, and how many cells they share."""
        deep, fine = (self.branch(genotype, name) for name in BRANCHES)
        return deep, fine, shared_cells(deep, fine)

    def genotype(self, deep: Branch, fine: Branch) -> dict[str, str]:
        """That of two branches, of cells in these layers.

        Raises:
            InvalidArchitecture, UnknownCandidate: no branches of the space.
        """
        ends_at_second = any(cell.down for cell in fine)
        chosen = {decision.name: decision.options[0] for decision in self.decisions}
        chosen |= {f"cells.{name}.{i}": SKIP for name in BRANCHES for i in range(self.grid.layers)}
        chosen["branches"] = self.decisions[0].options[0 if ends_at_second else 1]
        for name, cells in zip(BRANCHES, (deep, fine), strict=True):
            downs = tuple(cell.layer for cell in cells if cell.down)
            if downs:
                chosen[f"path.{name}"] = _layers(downs)
            for cell in cells:
                chosen[f"cells.{name}.{cell.layer}"] = cell.operation
                if cell is not cells[-1] and len(self.grid.widths) > 1:
                    chosen[f"width.{name}.{cell.layer}"] = f"{cell.width_out}/{FULL}"
        return self.check(chosen)

    def network(self, genotype: Genotype, head: Head) -> Graph:
        """The whole network: float image ``x`` (N, 3, H, W), normalised -> (N, outputs, H, W)."""
        net = GraphBuilder()
        last, _ = self._build(net, genotype, head)
        return head.ending(net.build(last))

    def training_network(self, genotype: Genotype, head: Head) -> Graph:
        """The network with two more outputs of the same shape, for training alone.

        One is of the last map at the third scale, the other of those at the second: the deep branch's, and
        the fine one's if it ends there. They share all weights of ``network`` but those of their own heads.
        """
        grid, net = self.grid, GraphBuilder()
        last, (deep, fine) = self._build(net, genotype, head)
        seconds = [ends[1] for ends in (deep, fine) if 1 in ends]
        channels = grid.channels(1, width_before(grid, self.branch(genotype, "deep"), 1))
        channels += grid.channels(1, grid.ratio) * (len(seconds) - 1)
        third = grid.channels(2, grid.ratio)
        auxiliary = (
            auxiliary_head(net, "auxiliary.third", third, head.outputs, deep[2]),
            auxiliary_head(net, "auxiliary.second", channels, head.outputs, *seconds),
        )
        return head.ending(net.build(last, *auxiliary))

    def _build(self, net: GraphBuilder, genotype: Genotype, head: Head) -> tuple[str, list[dict[int, str]]]:
        """All nodes; the name of the last, and of each branch's last map at each scale."""
        deep, fine, shared = self.branches(genotype)
        image = net.add("pad", Pad(self.grid.scales[-1]), "x")
        (stem,) = net.embed("stem", self.stem_graph(), image)
        ends = [{0: stem}, {0: stem}]
        value = stem
        for cell in deep:
            (value,) = net.embed(f"deep.{cell.layer}", self._cell(cell), value)
            ends[0][cell.scale_out] = value
        value = stem
        for index, cell in enumerate(fine):
            if index < shared:
                value = f"deep.{cell.layer}.{_OUTPUT}"
            else:
                (value,) = net.embed(f"fine.{cell.layer}", self._cell(cell), value)
            ends[1][cell.scale_out] = value
        result = net.embed(MERGES[0], self._merge(deep, 1), ends[0][2], ends[0][1])
        result = net.embed(MERGES[1], self._merge(deep, 0), *result, ends[0][0])
        other: tuple[str, ...] = (ends[1][0],)
        if 1 in ends[1]:
            other = net.embed(MERGES[2], self._merge(fine, 0), ends[1][1], ends[1][0])
        (last,) = net.embed(FUSION, self._fusion(head.outputs), *result, *other, image, "x")
        return last, ends

    @property
    def _stem_channels(self) -> tuple[int, ...]:
        """Half of the first scale's after one halving, all of them after each other."""
        full = self.grid.channels(0, self.grid.ratio)
        return (full // 2, *[full] * (self.grid.scales[0].bit_length() - 2))

    def stem_graph(self) -> Graph:
        """Layers from the image to the map that enters the grid."""
        return stem_graph(self._stem_channels)

    def _ends(self, cell: Cell) -> tuple[int, int]:
        """Channels of the maps that it reads and makes."""
        grid = self.grid
        return grid.channels(cell.scale, cell.width_in), grid.channels(cell.scale_out, cell.width_out)

    def _cell(self, cell: Cell) -> Graph:
        return cell_graph(cell.operation, *self._ends(cell), down=cell.down)

    def _merge(self, branch: Branch, scale: int) -> Graph:
        """What brings a branch's result from the next scale to this one."""
        grid = self.grid
        full, out = (grid.channels(place, grid.ratio) for place in (scale + 1, scale))
        return merge_graph(full, out, grid.channels(scale, width_before(grid, branch, scale)))

    def _fusion(self, outputs: int) -> Graph:
        return fusion_graph(self.grid.channels(0, self.grid.ratio), outputs)

    def borders(self, genotype: Genotype) -> tuple[str, ...]:
        """The filled image, and what the stem, each cell and each piece of the decoder make."""
        deep, fine, shared = self.branches(genotype)
        ends = [f"deep.{cell.layer}.{_OUTPUT}" for cell in deep]
        ends += [f"fine.{cell.layer}.{_OUTPUT}" for cell in fine[shared:]]
        merges = MERGES if self.ends_at_second(genotype) else MERGES[:2]
        (stem,) = self.stem_graph().outputs
        return ("pad", f"stem.{stem}", *ends, *(f"{merge}.refine.act" for merge in merges))

    def parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        """Every cell that a branch may have, what brings branches together, and what is always there."""
        grid, sizes = self.grid, self._sizes(resolution)
        for part in self._cell_parts:
            yield self._cell_part(part, sizes[part.cell.scale])
        for slot in MERGES:
            scale = _SCALES.index(slot.rpartition(".")[2])
            full, out = (grid.channels(place, grid.ratio) for place in (scale + 1, scale))
            for width in grid.widths:
                tap = grid.channels(scale, width)
                inputs: dict[str, Shape] = {"x": (1, full, *sizes[scale + 1]), "tap": (1, tap, *sizes[scale])}
                rows = merge_rows(sizes[scale + 1], sizes[scale], full, out, tap)
                yield Part(f"{slot}.{width}", merge_graph(full, out, tap), inputs, slot, rows)
        yield from self._fixed_parts(resolution, head)

    def _fixed_parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        grid, (fine, *_) = self.grid, self._sizes(resolution)
        image = (1, 3, *resolution)
        padded = (1, 3, *(side * grid.scales[0] for side in fine))
        result = (1, grid.channels(0, grid.ratio), *fine)
        fusion = fusion_rows(fine, result[1], head.outputs)
        frame = frame_part(grid.scales[-1])
        yield Part("frame", frame, {"frame": (1, *resolution, 3)}, published=())
        yield self.stem_part(resolution)
        ends = {"deep": result, "fine": result, "padded": padded, "image": image}
        yield Part(FUSION, with_head(self._fusion(head.outputs), head, resolution), ends, published=fusion)

    def stem_part(self, resolution: Resolution) -> Part:
        """The stem; in every network."""
        height, width = (side * self.grid.scales[0] for side in self._sizes(resolution)[0])
        rows = stem_rows((height, width), self._stem_channels)
        return Part("stem", self.stem_graph(), {"x": (1, 3, height, width)}, published=rows)

    def mixed_parts(self, resolution: Resolution, scale: int, *, down: bool) -> Iterator[Part]:
        """What a supernet mixes at a scale: of each operation, width before and width behind, in order."""
        grid, size = self.grid, self._sizes(resolution)[scale]
        for operation, before, behind in product(OPERATIONS, grid.widths, grid.widths):
            cell = Cell(0, operation, scale, down, before, behind)
            name = f"{operation}.{before}.{behind}"
            yield self._cell_part(CellPart(name, "", cell), size)

    def _cell_part(self, part: CellPart, size: tuple[int, int]) -> Part:
        cell = part.cell
        ends = self._ends(cell)
        row = cell_row(cell.operation, size, *ends, down=cell.down)
        return Part(part.name, self._cell(cell), {"x": (1, ends[0], *size)}, part.slot, (row,))

    def _sizes(self, resolution: Resolution) -> list[tuple[int, int]]:
        """Height and width of maps at each scale."""
        last = self.grid.scales[-1]
        height, width = (-(-side // last) * last for side in resolution)
        return [(height // scale, width // scale) for scale in self.grid.scales]

    @cached_property
    def _cell_parts(self) -> tuple[CellPart, ...]:
        return tuple(cell_parts(self.grid))

    def marginals(self, probabilities: Mapping[str, A]) -> dict[str, A]:
        """A cell runs as often as its branch comes by with these widths; a shared one is the deep's."""
        found = marginals.marginals(self.grid, probabilities)
        for slot, odds in zip(MERGES, marginals.taps(self.grid, probabilities), strict=True):
            found |= {f"{slot}.{width}": odd for width, odd in zip(self.grid.widths, odds, strict=True)}
        return found

    def peak_bytes(self, resolution: Resolution, head: Head) -> dict[str, float]:
        """Of what is always there, exact; of cells and merges, as if the widest maps waited beside them."""
        genotype = {decision.name: decision.options[-1] for decision in self.decisions}
        peaks: dict[str, float] = {}
        network = camera_network(self.network(genotype, head), head)
        owners = {"normalize": "frame", "pad": "frame"} | {n.name: FUSION for n in head.after.nodes}
        for step in steps(network, {"frame": (1, *resolution, 3)}):
            node = step.call.nodes[0]
            name = owners.get(node) or next((o for o in ("stem", FUSION) if node.startswith(f"{o}.")), None)
            if name:
                peaks[name] = max(peaks.get(name, 0.0), step.alive)
        waiting = self._waiting_bytes(resolution)
        own: dict[object, float] = {}
        for part in self.parts(resolution, head):
            if part.slot:
                key = id(part.graph), *part.inputs.values()  # graphs of cells are kept
                if key not in own:
                    own[key] = waiting + peak_bytes(part.graph, part.inputs)
                peaks[part.name] = own[key]
        return peaks

    def _waiting_bytes(self, resolution: Resolution) -> float:
        """Of the frame, and of the widest maps that others may wait for: two at the first scale, one at the
        second."""
        grid = self.grid
        areas = [height * width for height, width in self._sizes(resolution)]
        maps = [grid.channels(scale, grid.widths[-1]) * areas[scale] for scale in (0, 0, 1)]
        return 4.0 * sum(maps) + 3.0 * resolution.height * resolution.width

    def slot_label(self, slot: str) -> str:
        """``deep, layer 3``, or what a piece of the decoder brings together."""
        if slot in MERGES:
            branch, scale = slot.split(".")[1:]
            place = _SCALES.index(scale)
            return f"{branch}, {self.grid.scale_name(place + 1)} to {self.grid.scale_name(place)}"
        branch, layer = slot.split(".")
        return f"{branch}, layer {layer}"

    def drawing(self, genotype: Genotype) -> Drawing:
        """Layers by scales, and the cells of both branches."""
        grid, (deep, fine, shared) = self.grid, self.branches(genotype)
        ends = (grid.scale_name(2), grid.scale_name(fine[-1].scale_out))
        boxes = [self._box(cell, (0, 1) if place < shared else (0,)) for place, cell in enumerate(deep)]
        boxes += [self._box(cell, (1,)) for cell in fine[shared:]]
        scales = tuple(grid.scale_name(scale) for scale in range(3))
        return Drawing(grid.layers, scales, tuple(f"to {end}" for end in ends), tuple(boxes))

    def _box(self, cell: Cell, branches: tuple[int, ...]) -> Box:
        before, behind = self._ends(cell)
        name = cell.operation.removesuffix("_downup")
        label = (name,) if name == cell.operation else (name, "downup")
        return Box(cell.layer, cell.scale, label, f"{before}>{behind}", branches, cell.down)

    def short_form(self, genotype: Genotype) -> list[str] | None:
        """None: choices have names."""
        return None

    def from_short_form(self, options: Sequence[str]) -> dict[str, str]:
        """Raises InvalidArchitecture."""
        raise InvalidArchitecture(f"space {self.name} has no short form; write choices instead of blocks")


_SCALES = ("first", "second", "third")
_OUTPUT = "act"  # the last node of every cell


def _layers(layers: Sequence[int]) -> str:
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
