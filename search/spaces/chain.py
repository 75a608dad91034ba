"""Chains: a fixed skeleton with a choice of blocks at every position.

A space answers three questions: which candidates are there at a position, which layers is a candidate, and
which network is a list of choices. Everything else (training, costs, deployment) works on its graphs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, ActivationKind, Conv2d, Shape
from search.errors import InvalidArchitecture, UnknownCandidate
from search.resolution import Resolution
from search.spaces.camera import classes_graph, frame_graph
from search.spaces.decoders import DECODERS
from search.spaces.inverted_residual import candidate_graph
from search.spaces.space import Part
from targets.support.text import near_miss


@dataclass(frozen=True)
class Position:
    """A place in the network where one of ``candidates`` stands."""

    in_channels: int
    out_channels: int
    stride: int
    candidates: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ChainSpace:
    """Stem, a chain of positions, an optional last 1x1 convolution, a decoder.

    Attributes:
        stem: output channels of the 3x3 stride-2 stem.
        head: output channels of the 1x1 convolution after the last block; None for none.
        tap: position (0-based) whose output the decoder also reads.
        decoder, mid_channels: which head, how wide.
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

    def check(self, blocks: Sequence[str]) -> tuple[str, ...]:
        """The blocks as a tuple. Raises InvalidArchitecture, or UnknownCandidate naming every wrong block."""
        if len(blocks) != len(self.positions):
            raise InvalidArchitecture(
                f"space {self.name} has {len(self.positions)} positions, "
                f"the architecture has {len(blocks)} blocks"
            )
        wrong = [
            (index, name, position.candidates)
            for index, (name, position) in enumerate(zip(blocks, self.positions, strict=True))
            if name not in position.candidates
        ]
        if wrong:
            faults = [f"position {i}: unknown block {n!r}{near_miss(n, known)}" for i, n, known in wrong]
            allowed = dict.fromkeys(name for _, _, known in wrong for name in known)
            raise UnknownCandidate(
                f"space {self.name}: {'; '.join(faults)}; allowed there: {', '.join(allowed)}"
            )
        return tuple(blocks)

    def block(self, index: int, candidate: str) -> Graph:
        """Layers of a candidate at a position; input ``x``."""
        position = self.positions[index]
        return candidate_graph(candidate, position.in_channels, position.out_channels, position.stride)

    def stem_graph(self) -> Graph:
        net = GraphBuilder()
        stem = Conv2d(3, self.stem, kernel=3, stride=2, padding=1)
        return net.build(net.add("stem.act", Activation(self.activation), net.conv_bn("stem", stem, "x")))

    def head_graph(self) -> Graph:
        net, value = GraphBuilder(), "x"
        if self.head:
            value = net.conv_bn("head", Conv2d(self.positions[-1].out_channels, self.head), value)
            value = net.add("head.act", Activation(self.activation), value)
        return net.build(value)

    def decoder_graph(self, num_classes: int) -> Graph:
        high = self.head or self.positions[-1].out_channels
        low = self.positions[self.tap].out_channels
        return DECODERS[self.decoder](high, low, self.mid_channels, num_classes)

    def network(self, blocks: Sequence[str], num_classes: int) -> Graph:
        """The whole network: float image ``x`` (N, 3, H, W), normalised -> logits (N, classes, H, W)."""
        net = GraphBuilder()
        (value,) = net.embed("", self.stem_graph(), "x")
        low = value
        for index, candidate in enumerate(self.check(blocks)):
            (value,) = net.embed(f"blocks.{index}", self.block(index, candidate), value)
            low = value if index == self.tap else low
        (high,) = net.embed("", self.head_graph(), value)
        (logits,) = net.embed("decoder", self.decoder_graph(num_classes), high, low, "x")
        return net.build(logits)

    def block_inputs(self, resolution: Resolution) -> list[Shape]:
        """Shape of the input of every position, and last that of the encoder's output."""
        (shape,) = _outputs(self.stem_graph(), x=(1, 3, *resolution))
        shapes = [shape]
        for index, position in enumerate(self.positions):
            (shape,) = _outputs(self.block(index, position.candidates[-1]), x=shape)
            shapes.append(shape)
        return shapes

    def fixed_parts(self, resolution: Resolution, num_classes: int) -> Iterator[Part]:
        """What every network of the space has around its blocks, from camera frame to class indices."""
        image = (1, 3, *resolution)
        maps = self.block_inputs(resolution)
        (high,) = _outputs(self.head_graph(), x=maps[-1])
        yield Part("frame", frame_graph(), {"frame": (1, *resolution, 3)})
        yield Part("stem", self.stem_graph(), {"x": image})
        if self.head:
            yield Part("head", self.head_graph(), {"x": maps[-1]})
        inputs = {"high": high, "low": maps[self.tap + 1], "image": image}
        yield Part("decoder", self.decoder_graph(num_classes), inputs)
        yield Part("classes", classes_graph(), {"x": (1, num_classes, *resolution)})

    def blocks(self, resolution: Resolution) -> Iterator[tuple[int, str, Part]]:
        """Every candidate at every position, with the shape it works on."""
        shapes = self.block_inputs(resolution)[:-1]
        for index, (position, shape) in enumerate(zip(self.positions, shapes, strict=True)):
            for candidate in position.candidates:
                part = Part(f"blocks.{index}.{candidate}", self.block(index, candidate), {"x": shape})
                yield index, candidate, part


def _outputs(graph: Graph, **inputs: Shape) -> tuple[Shape, ...]:
    shapes = graph.shapes(inputs)
    return tuple(shapes[name] for name in graph.outputs)
