"""Chains: a fixed skeleton with a choice of blocks at every position.

Which candidates are there at a position, which layers is a candidate, which network is a list of choices; see
``search.spaces.space`` for what every space answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.memory import steps
from cost_models.ir.ops import Activation, ActivationKind, Conv2d, Shape
from search.errors import InvalidArchitecture, UnknownCandidate
from search.resolution import Resolution
from search.spaces.camera import camera_network, frame_graph, with_head
from search.spaces.decoders import DECODERS
from search.spaces.inverted_residual import candidate_graph
from search.spaces.space import A, Decision, Genotype, Head, Part, any_option, require_decisions
from targets.support.text import near_miss


@dataclass(frozen=True)
class Position:
    """A place in the network where one of ``candidates`` stands."""

    in_channels: int
    out_channels: int
    stride: int
    candidates: tuple[str, ...]


def stem_graph(channels: int, activation: ActivationKind) -> Graph:
    """3x3 of stride 2 on an image ``x``."""
    net = GraphBuilder()
    stem = Conv2d(3, channels, kernel=3, stride=2, padding=1)
    return net.build(net.add("stem.act", Activation(activation), net.conv_bn("stem", stem, "x")))


@dataclass(frozen=True, kw_only=True)
class ChainSpace:
    """Stem, a chain of positions, an optional last 1x1 convolution, a decoder.

    Attributes:
        stem: output channels of the 3x3 stride-2 stem.
        head: output channels of the 1x1 convolution after the last block; None for none.
        tap: position (0-based) whose output the decoder also reads.
        decoder, mid_channels: which one, how wide.
        activation: of stem and head.
    """

    name: str
    summary: str
    stem: int
    positions: tuple[Position, ...]
    tap: int
    decoder: str
    mid_channels: int
    head: int | None = None
    activation: ActivationKind = "relu"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """One a position: ``blocks.3``."""
        return tuple(Decision(f"blocks.{i}", p.candidates) for i, p in enumerate(self.positions))

    def check(self, genotype: Genotype) -> dict[str, str]:
        """The genotype in order. Raises InvalidArchitecture, or UnknownCandidate naming every wrong block."""
        require_decisions(self, genotype)
        wrong = [
            (index, genotype[decision.name], decision.options)
            for index, decision in enumerate(self.decisions)
            if genotype[decision.name] not in decision.options
        ]
        if wrong:
            faults = [f"position {i}: unknown block {n!r}{near_miss(n, known)}" for i, n, known in wrong]
            allowed = dict.fromkeys(name for _, _, known in wrong for name in known)
            raise UnknownCandidate(
                f"space {self.name}: {'; '.join(faults)}; allowed there: {', '.join(allowed)}"
            )
        return {decision.name: genotype[decision.name] for decision in self.decisions}

    def slot_label(self, slot: str) -> str:
        """A position with its channels: ``4: 16→24, stride 2``."""
        index = int(slot.removeprefix("blocks."))
        position = self.positions[index]
        stride = f", stride {position.stride}" if position.stride > 1 else ""
        return f"{index}: {position.in_channels}→{position.out_channels}{stride}"

    def short_form(self, genotype: Genotype) -> list[str]:
        """Its blocks."""
        return [genotype[decision.name] for decision in self.decisions]

    def from_short_form(self, options: Sequence[str]) -> dict[str, str]:
        """The genotype of a list of blocks. Raises InvalidArchitecture, UnknownCandidate."""
        if len(options) != len(self.positions):
            raise InvalidArchitecture(
                f"space {self.name} has {len(self.positions)} positions, "
                f"the architecture has {len(options)} blocks"
            )
        pairs = zip(self.decisions, options, strict=True)
        return self.check({decision.name: option for decision, option in pairs})

    def check_resolution(self, resolution: Resolution) -> Resolution:
        """Any: every layer takes odd sizes."""
        return resolution.checked()

    def sample(self, random: np.random.Generator) -> dict[str, str]:
        """Every block as likely as the others of its position."""
        return any_option(self, random)

    def block(self, index: int, candidate: str) -> Graph:
        """Layers of a candidate at a position; input ``x``."""
        position = self.positions[index]
        return candidate_graph(candidate, position.in_channels, position.out_channels, position.stride)

    def stem_graph(self) -> Graph:
        """Image ``x`` -> the map that enters the first position."""
        return stem_graph(self.stem, self.activation)

    def head_graph(self) -> Graph:
        net, value = GraphBuilder(), "x"
        if self.head:
            value = net.conv_bn("head", Conv2d(self.positions[-1].out_channels, self.head), value)
            value = net.add("head.act", Activation(self.activation), value)
        return net.build(value)

    def decoder_graph(self, outputs: int) -> Graph:
        high = self.head or self.positions[-1].out_channels
        low = self.positions[self.tap].out_channels
        return DECODERS[self.decoder](high, low, self.mid_channels, outputs)

    def network(self, genotype: Genotype, head: Head) -> Graph:
        """The whole network: float image ``x`` (N, 3, H, W), normalised -> logits (N, outputs, H, W)."""
        net = GraphBuilder()
        (value,) = net.embed("", self.stem_graph(), "x")
        low = value
        for index, candidate in enumerate(self.check(genotype).values()):
            (value,) = net.embed(f"blocks.{index}", self.block(index, candidate), value)
            low = value if index == self.tap else low
        (high,) = net.embed("", self.head_graph(), value)
        (logits,) = net.embed("decoder", self.decoder_graph(head.outputs), high, low, "x")
        return head.ending(net.build(logits))

    def borders(self, genotype: Genotype) -> tuple[str, ...]:
        """The stem's output and every block's: TVM would also fuse the ReLU that a projecting skip begins
        with into the block before it."""
        ends = list(self.stem_graph().outputs)
        for index, name in enumerate(self.check(genotype).values()):
            block = self.block(index, name)
            ends += [f"blocks.{index}.{output}" for output in block.outputs if block.nodes]
        return tuple(ends)

    def block_inputs(self, resolution: Resolution) -> list[Shape]:
        """Shape of the input of every position, and last that of the encoder's output."""
        (shape,) = _outputs(self.stem_graph(), x=(1, 3, *resolution))
        shapes = [shape]
        for index, position in enumerate(self.positions):
            (shape,) = _outputs(self.block(index, position.candidates[-1]), x=shape)
            shapes.append(shape)
        return shapes

    def parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        """Every candidate at every position, then what every network of the space has around them."""
        for _, _, part in self.blocks(resolution):
            yield part
        yield from self.fixed_parts(resolution, head)

    def fixed_parts(self, resolution: Resolution, head: Head) -> Iterator[Part]:
        """What every network of the space has around its blocks, from camera frame to what is deployed."""
        image = (1, 3, *resolution)
        maps = self.block_inputs(resolution)
        (high,) = _outputs(self.head_graph(), x=maps[-1])
        yield Part("frame", frame_graph(), {"frame": (1, *resolution, 3)})
        yield Part("stem", self.stem_graph(), {"x": image})
        if self.head:
            yield Part("head", self.head_graph(), {"x": maps[-1]})
        inputs = {"high": high, "low": maps[self.tap + 1], "image": image}
        yield Part("decoder", with_head(self.decoder_graph(head.outputs), head, resolution), inputs)

    def blocks(self, resolution: Resolution) -> Iterator[tuple[int, str, Part]]:
        """Every candidate at every position, with the shape it works on."""
        shapes = self.block_inputs(resolution)[:-1]
        for index, (position, shape) in enumerate(zip(self.positions, shapes, strict=True)):
            slot = f"blocks.{index}"
            for candidate in position.candidates:
                part = Part(f"{slot}.{candidate}", self.block(index, candidate), {"x": shape}, slot)
                yield index, candidate, part

    def marginals(self, probabilities: Mapping[str, A]) -> dict[str, A]:
        """A block runs as often as it is chosen."""
        return {
            f"{decision.name}.{option}": probabilities[decision.name][..., place]
            for decision in self.decisions
            for place, option in enumerate(decision.options)
        }

    def peak_bytes(self, resolution: Resolution, head: Head) -> dict[str, float]:
        """While each block runs, other maps that wait included, and of all around the blocks.

        What waits beside a block depends on its position alone: so one network for every column of the table
        has them all. A kernel belongs to the block of the first layer that it computes.
        """
        names = [part.name for part in self.parts(resolution, head)]
        peaks = dict.fromkeys(names, 0.0)  # the identity skip runs nothing
        for column in range(max(len(position.candidates) for position in self.positions)):
            chosen = [p.candidates[min(column, len(p.candidates) - 1)] for p in self.positions]
            network = camera_network(self.network(self.from_short_form(chosen), head), head)
            for step in steps(network, {"frame": (1, *resolution, 3)}):
                first, *others = step.call.nodes[0].split(".")
                name = f"blocks.{others[0]}.{chosen[int(others[0])]}" if first == "blocks" else "frame"
                peaks[name] = max(peaks[name], step.alive)
        return peaks


def _outputs(graph: Graph, **inputs: Shape) -> tuple[Shape, ...]:
    shapes = graph.shapes(inputs)
    return tuple(shapes[name] for name in graph.outputs)
