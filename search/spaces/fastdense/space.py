"""Decoders of blocks over an encoder's taps: how blocks are wired, and the one cell that all of them have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from search.errors import InvalidArchitecture
from search.resolution import Resolution
from search.spaces.camera import frame_graph, with_head
from search.spaces.encoders import Encoder
from search.spaces.fastdense.assembly import Assembly
from search.spaces.fastdense.cell import Cell, Layer, left_of, position_name
from search.spaces.fastdense.cell_odds import Chances, cell_odds
from search.spaces.fastdense.memory import sampled_peaks
from search.spaces.fastdense.numbers import genotype_of, numbers_of, rows_of
from search.spaces.fastdense.operations import (
    NONE,
    OPERATIONS,
    SKIP,
    add_classifier,
    conv_graph,
    head_graph,
    operation_graph,
    sum_graph,
    unchanged_graph,
)
from search.spaces.fastdense.wiring import Wiring, WiringOdds, wiring_odds
from search.spaces.space import A, Decision, Genotype, Head, Part, any_option, checked, uniform

SIDES = ("left", "right")
HEAD = "decoder.head"


@dataclass(frozen=True)
class Form:
    """How large a decoder is made.

    Attributes:
        channels: of all its maps.
        repeats: how often a separable convolution is done.
    """

    channels: int
    repeats: int


SEARCHED, FINAL = Form(channels=48, repeats=1), Form(channels=64, repeats=2)
"""Of networks while they are searched for, and of those that are trained to be used."""


@dataclass(frozen=True, kw_only=True)
class FastdenseSpace:
    """An encoder, blocks that take two maps each, and one classifier (arXiv:1810.10804).

    A block puts each of its maps through a copy of the one searched cell and a 1x1 convolution, and adds both
    up at the size of the larger. What blocks made and no other takes goes to the classifier. A genotype says
    what each block takes (``block.0.left``: a tap by its scale, or an earlier block), and of the cell the
    operations and what they read (``cell.first``, ``cell.1.left``, ``cell.1.left.from``).

    What ``none`` gives is zero, and so is what reads only that: neither is computed, nor is what nothing
    needs. A ``skip`` computes nothing either, but where a sum could otherwise read one map twice: there it is
    a ReLU, which changes no map here.

    Attributes:
        form: channels of the decoder, repeats of separable convolutions.
        blocks, layers: how many of the decoder, and of the cell.
    """

    name: str
    summary: str
    encoder: Encoder
    form: Form = FINAL
    blocks: int = 3
    layers: int = 3
    operations: tuple[str, ...] = OPERATIONS

    def in_form(self, form: Form) -> "FastdenseSpace":
        """The same choices in networks of another size."""
        return replace(self, form=form)

    @cached_property
    def pool(self) -> tuple[str, ...]:
        """What blocks and the classifier can take, by name: taps, then blocks."""
        blocks = (f"block {block}" for block in range(self.blocks))
        return (*map(str, self.encoder.taps), *blocks)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Wiring of the blocks, then the cell, in the order in which the papers' controller makes them."""
        taps = len(self.encoder.taps)
        found = [
            Decision(f"block.{block}.{side}", self.pool[: taps + block], "wiring")
            for block in range(self.blocks)
            for side in SIDES
        ]
        found.append(Decision("cell.first", self.operations))
        for layer in range(self.layers):
            places = tuple(map(position_name, range(left_of(layer))))
            found += [Decision(f"cell.{layer + 1}.{side}.from", places, "wiring") for side in SIDES]
            found += [Decision(f"cell.{layer + 1}.{side}", self.operations) for side in SIDES]
        return tuple(found)

    @cached_property
    def _options(self) -> dict[str, tuple[str, ...]]:
        return {decision.name: decision.options for decision in self.decisions}

    def check(self, genotype: Genotype) -> dict[str, str]:
        """The genotype in order.

        Raises:
            InvalidArchitecture: other decisions than these, or the cell gives nothing.
            UnknownCandidate: names every wrong option.
        """
        found = checked(self, genotype)
        if not self._cell(found).ends:
            raise InvalidArchitecture(
                f"space {self.name}: the cell gives nothing, since each way through it ends in {NONE}; "
                "choose another operation on one of them"
            )
        return found

    def check_resolution(self, resolution: Resolution) -> Resolution:
        """Any: every layer takes odd sizes."""
        return resolution.checked()

    def sample(self, random: np.random.Generator) -> dict[str, str]:
        """Every network as likely as the others."""
        while True:
            genotype = any_option(self, random)
            if self._cell(genotype).ends:
                return genotype

    def cell(self, genotype: Genotype) -> Cell:
        """What all blocks have. Raises as ``check``."""
        return self._cell(self.check(genotype))

    def _cell(self, genotype: Genotype) -> Cell:
        layers = []
        for layer in range(1, self.layers + 1):
            reads, operations = [], []
            for side in SIDES:
                name = f"cell.{layer}.{side}"
                reads.append(self._options[f"{name}.from"].index(genotype[f"{name}.from"]))
                operations.append(genotype[name])
            layers.append(Layer((reads[0], reads[1]), (operations[0], operations[1])))
        return Cell(genotype["cell.first"], tuple(layers))

    def wiring(self, genotype: Genotype) -> Wiring:
        """What blocks take. Raises as ``check``."""
        genotype = self.check(genotype)
        pairs = []
        for block in range(self.blocks):
            left, right = (self.pool.index(genotype[f"block.{block}.{side}"]) for side in SIDES)
            pairs.append((left, right))
        return Wiring(len(self.encoder.taps), tuple(pairs))

    def network(self, genotype: Genotype, head: Head) -> Graph:
        """The whole network: float image ``x`` (N, 3, H, W), normalised -> (N, outputs, H, W)."""
        assembly, last, _ = self.assemble(genotype, head.outputs)
        return head.ending(assembly.net.build(last))

    def training_network(self, genotype: Genotype, head: Head) -> Graph:
        """The network with one more output of the same shape for each block, for training alone.

        They are of another copy of the cell on what the block makes, and a classifier of their own.
        """
        assembly, last, made = self.assemble(genotype, head.outputs)
        wiring, cell, outputs = self.wiring(genotype), self.cell(genotype), [last]
        for block, value in enumerate(made):
            at = self._scale(wiring.levels[wiring.taps + block])
            value = cell.place(assembly, f"auxiliary.{block}", at, value, self._operation)
            name = f"auxiliary.{block}.classify"
            outputs.append(add_classifier(assembly.net, name, self.form.channels, head.outputs, value, "x"))
        return head.ending(assembly.net.build(*outputs))

    def borders(self, genotype: Genotype) -> tuple[str, ...]:
        """What each part makes but the last."""
        assembly, last, _ = self.assemble(genotype, 1)
        return tuple(border for border in assembly.borders if border != last)

    def assemble(self, genotype: Genotype, outputs: int) -> tuple[Assembly, str, list[str]]:
        """The network, its last value, and what each block made."""
        wiring, cell, net = self.wiring(genotype), self.cell(genotype), Assembly()
        values, image = [], "x"
        for index, piece in enumerate(self.encoder.pieces[: self._deepest(wiring) + 1]):
            image = net.add(f"encoder.{index}", self._scale(index), piece, image, prefix="encoder")
            values.append(image)
        for index, value in enumerate(values):
            if index in wiring.taken:
                tap = self.encoder.taps[index]
                graph = conv_graph(tap.channels, self.form.channels)
                values[index] = net.add(_adapter(index), str(tap), graph, value)
        values += [""] * (wiring.taps - len(values))
        for block, pair in enumerate(wiring.blocks):
            ends = []
            for side, place in zip(SIDES, pair, strict=True):
                at, slot = self._scale(wiring.levels[place]), f"decoder.blocks.{block}.{side}"
                value = cell.place(net, slot, at, values[place], self._operation)
                ends.append(net.add(f"{slot}.reduce", at, self._reduce, value))
            levels = wiring.levels[pair[0]], wiring.levels[pair[1]]
            values.append(net.add(f"decoder.blocks.{block}.join", self._joined(levels), _join(levels), *ends))
        loose = [wiring.levels[place] for place in wiring.loose]
        inputs = [values[place] for place in wiring.loose]
        last = net.add(HEAD, self._joined(loose), self._head(loose, outputs), *inputs, "x")
        return net, last, values[wiring.taps :]

    def _deepest(self, wiring: Wiring) -> int:
        """The last tap that some block takes: what the encoder has behind it is not computed."""
        return max(place for place in wiring.taken if place < wiring.taps)

    def _operation(self, name: str) -> Graph:
        return operation_graph(name, self.form.channels, self.form.channels, self.form.repeats)

    @property
    def _reduce(self) -> Graph:
        return conv_graph(self.form.channels, self.form.channels)

    def _head(self, levels: Sequence[int], outputs: int) -> Graph:
        coarser = tuple(level > min(levels) for level in levels)
        return head_graph((self.form.channels,) * len(levels), coarser, self.form.channels, outputs)

    def _scale(self, level: int) -> str:
        return str(self.encoder.taps[level])

    def _joined(self, levels: Sequence[int]) -> str:
        """``1/4 + 1/8``."""
        return " + ".join(map(self._scale, levels))

    def parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        """Every operation at every place and size, what brings maps together, and what is always there."""
        taps = self._tap_shapes(resolution)
        sizes = [(1, self.form.channels, *shape[2:]) for shape in taps]
        image = (1, 3, *resolution)
        yield Part("frame", frame_graph(), {"frame": (1, *resolution, 3)})
        for index, piece in enumerate(self.encoder.pieces):
            inputs = {"x": taps[index - 1] if index else image}
            slot = f"encoder.{index}"  # what leads to the first tap is in every network
            yield Part(f"{slot}.{self._scale(index)}", piece, inputs, slot if index else "")
        for index, tap in enumerate(self.encoder.taps):
            graph = conv_graph(tap.channels, self.form.channels)
            yield Part(f"{_adapter(index)}.{tap}", graph, {"x": taps[index]}, _adapter(index))
        places = self._cell_graphs()
        for block in range(self.blocks):
            for side in SIDES:
                slot = f"decoder.blocks.{block}.{side}"
                for level, size in enumerate(sizes):
                    for place, option, graph in places:
                        name = f"{slot}.{place}.{option} at {self._scale(level)}"
                        yield Part(name, graph, dict.fromkeys(graph.inputs, size), f"{slot}.{place}")
                    name = f"{slot}.reduce.{self._scale(level)}"
                    yield Part(name, self._reduce, {"x": size}, f"{slot}.reduce")
        odds = self._wiring_odds(uniform(self))
        for block, joins in enumerate(odds.joins):
            slot = f"decoder.blocks.{block}.join"
            for levels in sorted(joins):
                inputs = dict(zip(SIDES, (sizes[level] for level in levels), strict=True))
                yield Part(f"{slot}.{self._joined(levels)}", _join(levels), inputs, slot)
        for ends in sorted(odds.heads):
            inputs = {f"x{index}": sizes[level] for index, level in enumerate(ends)} | {"image": image}
            graph = with_head(self._head(ends, head.outputs), head, resolution)
            yield Part(f"{HEAD}.{self._joined(ends)}", graph, inputs, HEAD)

    def _tap_shapes(self, resolution: Resolution) -> list[Shape]:
        graph = self.encoder.graph()
        shapes = graph.shapes({"x": (1, 3, *resolution)})
        return [shapes[name] for name in graph.outputs]

    def _cell_graphs(self) -> list[tuple[str, str, Graph]]:
        """(Place, option, layers) of everything that may run in a copy of the cell."""
        found = []
        for position, option in cell_odds(self._cell_chances(uniform(self))):
            graph = sum_graph() if option == "sum" else unchanged_graph()
            found.append(
                (self._place(position), option, graph if option in ("sum", SKIP) else self._operation(option))
            )
        return found

    def _place(self, position: int) -> str:
        behind = position - left_of(self.layers)
        return f"ends{behind + 1}" if behind >= 0 else position_name(position).replace(" ", "")

    def _cell_chances(self, probabilities: Mapping[str, Any]) -> Chances:
        def by_option(name: str) -> dict[str, Any]:
            return {option: probabilities[name][..., i] for i, option in enumerate(self._options[name])}

        layers = []
        for layer in range(1, self.layers + 1):
            names = [f"cell.{layer}.{side}" for side in SIDES]
            layers.append(tuple(([*by_option(f"{name}.from").values()], by_option(name)) for name in names))
        return Chances(by_option("cell.first"), layers)

    def _wiring_odds(self, probabilities: Mapping[str, Any]) -> WiringOdds:
        chances = []
        for block in range(self.blocks):
            names = [f"block.{block}.{side}" for side in SIDES]
            rows = [[probabilities[n][..., i] for i in range(len(self._options[n]))] for n in names]
            chances.append((rows[0], rows[1]))
        return wiring_odds(len(self.encoder.taps), chances)

    def marginals(self, probabilities: Mapping[str, A]) -> dict[str, A]:
        """What is chosen in the cell is independent of the sizes of the maps on which its copies work."""
        wiring = self._wiring_odds(probabilities)
        cell = cell_odds(self._cell_chances(probabilities))
        found: dict[str, A] = {}
        for index in range(len(self.encoder.taps)):
            if index:
                found[f"encoder.{index}.{self._scale(index)}"] = wiring.needed[index]
            found[f"{_adapter(index)}.{self._scale(index)}"] = wiring.taps[index]
        for block, sides in enumerate(wiring.reads):
            for side, levels in zip(SIDES, sides, strict=True):
                slot = f"decoder.blocks.{block}.{side}"
                for level, odds in enumerate(levels):
                    at = self._scale(level)
                    found[f"{slot}.reduce.{at}"] = odds
                    for (position, option), runs in cell.items():
                        found[f"{slot}.{self._place(position)}.{option} at {at}"] = runs * odds
            for ends, odds in wiring.joins[block].items():
                found[f"decoder.blocks.{block}.join.{self._joined(ends)}"] = odds
        for loose, odds in wiring.heads.items():
            found[f"{HEAD}.{self._joined(loose)}"] = odds
        return found

    def peak_bytes(self, resolution: Resolution, head: Head) -> dict[str, float]:
        """Up to the first tap exact; behind it an estimate, see ``search.spaces.fastdense.memory``."""
        return sampled_peaks(self, resolution, head, lambda g: self.assemble(g, head.outputs)[0])

    def slot_label(self, slot: str) -> str:
        """``block 0, left: right 2``, or what else of the network it is."""
        kind, *rest = slot.removeprefix("decoder.").split(".")
        if kind == "encoder":
            return f"encoder to {self._scale(int(rest[0]))}"
        if kind == "adapters":
            return f"adapter of {self._scale(int(rest[0]))}"
        if kind == "head":
            return "classifier"
        block, *places = rest
        return f"block {block}, {': '.join(places)}"

    @cached_property
    def _rows(self) -> list[list[str]]:
        """Names of the decisions in the order of the papers' numbers."""
        layers = [
            [f"cell.{layer}.{side}{kind}" for kind in (".from", "") for side in SIDES]
            for layer in range(1, self.layers + 1)
        ]
        blocks = [[f"block.{block}.{side}" for side in SIDES] for block in range(self.blocks)]
        return [["cell.first"], *layers, *blocks]

    def short_form(self, genotype: Genotype) -> list[str]:
        """The papers' numbers: the first operation, ``p1 p2 o1 o2`` of each layer, ``i j`` of each block."""
        rows = numbers_of(self.check(genotype), self._rows, self._options)
        return [" ".join(map(str, row)) for row in rows]

    def from_short_form(self, options: Sequence[str]) -> dict[str, str]:
        """The genotype of such numbers. Raises InvalidArchitecture, UnknownCandidate."""
        rows = rows_of(options, self._rows, self.name)
        return self.check(genotype_of(rows, self._rows, self._options, self.name))


def _adapter(index: int) -> str:
    return f"decoder.adapters.{index}"


def _join(levels: Sequence[int]) -> Graph:
    if levels[0] == levels[1]:
        return sum_graph()
    return sum_graph(SIDES[0] if levels[0] < levels[1] else SIDES[1])
