"""Search spaces as data: a fixed skeleton with a choice of blocks at every position.

A space answers three questions: which candidates are there at a position, which layers is a candidate, and
which network is a list of choices. Everything else (training, costs, deployment) works on its graphs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cost_models.ir.graph import Graph, GraphBuilder
from cost_models.ir.ops import Activation, ActivationKind, ArgMax, Conv2d, Normalize, Shape, ToByte
from search.candidates import SKIP, candidate_graph
from search.decoders import DECODERS
from search.errors import InvalidArchitecture, UnknownCandidate, UnknownSpace, near_miss
from search.resolution import Resolution

# Pixel statistics of ImageNet in 0..1, RGB: what all published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# SqueezeNAS, section 3.1, in the order of the authors' code.
SQUEEZENAS_CANDIDATES = (
    *("k3e1", "k3e1g2", "k3e3", "k3e6", "k5e1", "k5e1g2", "k5e3", "k5e6"),
    *("k3e1d2", "k3e1g2d2", "k3e3d2", "k3e6d2", SKIP),
)


@dataclass(frozen=True)
class Position:
    """A place in the network where one of ``candidates`` stands."""

    in_channels: int
    out_channels: int
    stride: int
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A piece of a network whose cost is counted on its own: a graph and the shapes of its inputs."""

    name: str
    graph: Graph
    inputs: dict[str, Shape]


@dataclass(frozen=True, kw_only=True)
class Space:
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


def frame_graph() -> Graph:
    """uint8 RGB ``frame`` (N, H, W, 3) -> normalised float image."""
    net = GraphBuilder(("frame",))
    return net.build(net.add("normalize", Normalize(IMAGENET_MEAN, IMAGENET_STD), "frame"))


def classes_graph() -> Graph:
    """Logits ``x`` -> uint8 class indices (N, H, W)."""
    net = GraphBuilder()
    return net.build(net.add("class", ToByte(), net.add("class.index", ArgMax(), "x")))


def camera_network(network: Graph) -> Graph:
    """What is deployed: the network from a camera's uint8 RGB frame (N, H, W, 3) to classes (N, H, W)."""
    net = GraphBuilder(("frame",))
    (image,) = net.embed("", frame_graph(), "frame")
    (logits,) = net.embed("", network, image)
    return net.build(*net.embed("", classes_graph(), logits))


def _stages(
    stem: int, stages: Sequence[tuple[int, int, int]], candidates: tuple[str, ...]
) -> tuple[Position, ...]:
    """Positions from (channels, count, stride of the first) of every stage."""
    positions, channels = [], stem
    for out_channels, count, stride in stages:
        for index in range(count):
            positions.append(Position(channels, out_channels, stride if index == 0 else 1, candidates))
            channels = out_channels
    return tuple(positions)


def _fixed(stem: int, layers: Sequence[tuple[str, int, int]]) -> tuple[Position, ...]:
    """Positions that offer one block each, from (block, channels, stride)."""
    inputs = [stem, *(channels for _, channels, _ in layers)]
    return tuple(
        Position(c_in, c_out, stride, (name,))
        for c_in, (name, c_out, stride) in zip(inputs, layers, strict=False)
    )


# MobileNetV3 (arXiv:1905.02244, tables 1 and 2) with the segmentation changes of section 6.4: output stride
# 16 by dilation in the last stage, channels of that stage halved ("reduced tail").
_MOBILENETV3_SMALL = (
    *(("k3h16se", 16, 2), ("k3h72", 24, 2), ("k3h88", 24, 1), ("k5h96sehs", 40, 2)),
    *(("k5h240sehs", 40, 1), ("k5h240sehs", 40, 1), ("k5h120sehs", 48, 1), ("k5h144sehs", 48, 1)),
    *(("k5h288d2sehs", 48, 1), ("k5h288d2sehs", 48, 1), ("k5h288d2sehs", 48, 1)),
)
_MOBILENETV3_LARGE = (
    *(("k3h16", 16, 1), ("k3h64", 24, 2), ("k3h72", 24, 1)),
    *(("k5h72se", 40, 2), ("k5h120se", 40, 1), ("k5h120se", 40, 1)),
    *(("k3h240hs", 80, 2), ("k3h200hs", 80, 1), ("k3h184hs", 80, 1), ("k3h184hs", 80, 1)),
    *(("k3h480sehs", 112, 1), ("k3h672sehs", 112, 1)),
    *(("k5h672d2sehs", 80, 1), ("k5h480d2sehs", 80, 1), ("k5h480d2sehs", 80, 1)),
)

_SMALL = ((16, 4, 2), (24, 4, 2), (40, 4, 2), (48, 4, 1), (96, 4, 1))
_LARGE = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 1), (160, 1, 1))
_XLARGE = ((24, 1, 1), (32, 4, 2), (48, 4, 2), (96, 4, 2), (144, 4, 1), (240, 4, 1), (320, 1, 1))

SPACES = {
    space.name: space
    for space in (
        Space(
            name="squeezenas-small",
            summary="SqueezeNAS Small: 20 positions, 13 candidates, LR-ASPP",
            stem=16,
            positions=_stages(16, _SMALL, SQUEEZENAS_CANDIDATES),
            head=256,
            tap=7,
            decoder="lraspp",
            mid_channels=128,
        ),
        Space(
            name="squeezenas-large",
            summary="SqueezeNAS Large: 22 positions, 13 candidates, LR-ASPP",
            stem=16,
            positions=_stages(16, _LARGE, SQUEEZENAS_CANDIDATES),
            tap=8,
            decoder="lraspp",
            mid_channels=128,
        ),
        Space(
            name="squeezenas-xlarge",
            summary="SqueezeNAS XLarge: 22 positions, 13 candidates, ASPP",
            stem=48,
            positions=_stages(48, _XLARGE, SQUEEZENAS_CANDIDATES),
            tap=4,
            decoder="aspp",
            mid_channels=160,
        ),
        Space(
            name="mobilenetv3-small",
            summary="MobileNetV3-Small for segmentation: one network, for comparison",
            stem=16,
            positions=_fixed(16, _MOBILENETV3_SMALL),
            head=288,
            tap=2,
            decoder="lraspp",
            mid_channels=128,
            activation="hswish",
        ),
        Space(
            name="mobilenetv3-large",
            summary="MobileNetV3-Large for segmentation: one network, for comparison",
            stem=16,
            positions=_fixed(16, _MOBILENETV3_LARGE),
            head=480,
            tap=5,
            decoder="lraspp",
            mid_channels=128,
            activation="hswish",
        ),
    )
}
_SHORT = {"small": "squeezenas-small", "large": "squeezenas-large", "xlarge": "squeezenas-xlarge"}


def get_space(name: str) -> Space:
    """A space by name; ``small``, ``large`` and ``xlarge`` are SqueezeNAS's. Raises UnknownSpace."""
    key = _SHORT.get(name, name)
    if key not in SPACES:
        raise UnknownSpace(
            f"unknown space {name!r}{near_miss(name, [*SPACES, *_SHORT])}; "
            f"allowed: {', '.join(sorted(SPACES))}"
        )
    return SPACES[key]
