"""Encoders as parts: what makes maps of an image, which decoders take as they like.

An encoder is MobileNetV2 or a chain network of this house without its decoder. Its taps are the last maps at
each stride from 4 on. Its tensors are called as in the network that it is from, so that weights of that
network fill it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path

from cost_models.ir.graph import Graph, GraphBuilder
from search.errors import InvalidArchitecture, SearchError, UnknownSpace
from search.spaces.chain import ChainSpace, stem_graph
from search.spaces.inverted_residual import candidate_graph
from search.spaces.mobilenetv3 import MOBILENETV3
from search.spaces.squeezenas import SQUEEZENAS
from targets.support.plain_yaml import load_yaml
from targets.support.reading import TEXT_BYTES, read_text
from targets.support.strict_yaml import YAML_SUFFIXES, yaml_names
from targets.support.text import near_miss

_FILES = resources.files("search") / "architectures"
_CHAINS = {space.name: space for space in (*SQUEEZENAS, *MOBILENETV3)}
_PROBE = 256  # pixels a side of the image by which strides are found
_FINEST = 4  # the least stride of a tap
USUAL = "mobilenetv2"

# MobileNetV2 (arXiv:1801.04381, table 2): expansion, channels, blocks, stride of the first.
_MOBILENETV2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
_MOBILENETV2_STEM = 32


@dataclass(frozen=True)
class Tap:
    """A map that an encoder offers. ``stride``: pixels of the image for one of it, a side."""

    channels: int
    stride: int

    def __str__(self) -> str:
        return f"1/{self.stride}"


@dataclass(frozen=True)
class Encoder:
    """From an image to a few maps, the finest first.

    Attributes:
        name: by which ``get_encoder`` finds it.
        pieces: one a tap: from the image, or from the tap before, ``x``, to the tap.
        donor, blocks: the chain network that it is the first part of; None for none of this house.
    """

    name: str
    taps: tuple[Tap, ...]
    pieces: tuple[Graph, ...]
    donor: ChainSpace | None = None
    blocks: tuple[str, ...] = ()

    def first(self, count: int) -> "Encoder":
        """The same up to that many taps.

        Raises InvalidArchitecture where it has fewer.
        """
        if count > len(self.taps):
            raise InvalidArchitecture(
                f"encoder {self.name} has {len(self.taps)} taps, {count} are needed; "
                f"take one that goes on to stride {_FINEST << (count - 1)}"
            )
        return replace(self, taps=self.taps[:count], pieces=self.pieces[:count])

    def graph(self) -> Graph:
        """Image ``x`` (N, 3, H, W) -> every tap."""
        net, values = GraphBuilder(), ["x"]
        for piece in self.pieces:
            values += net.embed("", piece, values[-1])
        return net.build(*values[1:])


def get_encoder(name: str) -> Encoder:
    """An encoder by name.

    Args:
        name: ``mobilenetv2``; a shipped chain network (``squeezenas-lat-small``); an architecture file with a
            chain network; or such a network written out: its space, a colon, and its blocks between commas.

    Raises:
        UnknownSpace: no such encoder.
        InvalidArchitecture, UnknownCandidate: a network that is none, or no chain.
    """
    return _by_name(written_out(name))


def written_out(name: str) -> str:
    """A name that is good everywhere: of a file, what stands in it. Raises as ``get_encoder``."""
    if Path(name).suffix not in YAML_SUFFIXES:
        return name
    space, blocks = _chain_network(read_text(Path(name), InvalidArchitecture, most_bytes=TEXT_BYTES), name)
    try:
        space.from_short_form(blocks)
    except SearchError as error:
        raise type(error)(f"{name}: {error}") from None
    return f"{space.name}:{','.join(blocks)}"


@cache
def _by_name(name: str) -> Encoder:
    if name == USUAL:
        return _mobilenetv2()
    chain, colon, blocks = name.partition(":")
    if colon and chain in _CHAINS:
        return _of_chain(name, _CHAINS[chain], blocks.split(","))
    shipped = encoder_names()
    if name not in shipped:
        raise UnknownSpace(
            f"unknown encoder {name!r}{near_miss(name, shipped)}; allowed: {', '.join(shipped)}, "
            "or the path of a .yaml file with a chain of blocks"
        )
    return _of_chain(name, *_chain_network((_FILES / f"{name}.yaml").read_text(encoding="utf-8"), name))


@cache
def encoder_names() -> tuple[str, ...]:
    """Those that come with the package."""
    found = [USUAL]
    for name in yaml_names(_FILES):
        document = load_yaml((_FILES / f"{name}.yaml").read_text(encoding="utf-8"))
        if document["space"] in _CHAINS:
            found.append(name)
    return tuple(found)


def _chain_network(text: str, where: str) -> tuple[ChainSpace, list[str]]:
    """Space and blocks of an architecture file. Raises InvalidArchitecture."""
    try:
        document = load_yaml(text)
    except ValueError as error:
        raise InvalidArchitecture(f"{where}: not YAML: {error}") from None
    document = document if isinstance(document, dict) else {}
    space, blocks = _CHAINS.get(str(document.get("space"))), document.get("blocks")
    if space is None or not isinstance(blocks, list):
        raise InvalidArchitecture(
            f"{where}: no encoder: it is no chain of blocks; allowed are files with blocks and a space of "
            f"{', '.join(_CHAINS)}"
        )
    return space, [str(block) for block in blocks]


def _of_chain(name: str, space: ChainSpace, blocks: Sequence[str]) -> Encoder:
    chosen = space.check(space.from_short_form(blocks)).values()
    graphs = [space.block(index, block) for index, block in enumerate(chosen)]
    made = _encoder(name, space.stem_graph(), graphs)
    return replace(made, donor=space, blocks=tuple(chosen))


def _mobilenetv2() -> Encoder:
    channels, graphs = _MOBILENETV2_STEM, []
    for expansion, out_channels, count, stride in _MOBILENETV2:
        for index in range(count):
            own = stride if index == 0 else 1
            graphs.append(candidate_graph(f"k3e{expansion}r6", channels, out_channels, own))
            channels = out_channels
    return _encoder(USUAL, stem_graph(_MOBILENETV2_STEM, "relu6"), graphs)


def _encoder(name: str, stem: Graph, blocks: Sequence[Graph]) -> Encoder:
    """Cut behind the last block at each stride."""
    (shape,) = _output_shapes(stem, (1, 3, _PROBE, _PROBE))
    shapes = []
    for block in blocks:
        (shape,) = _output_shapes(block, shape)
        shapes.append(shape)
    strides = [_PROBE // side for *_, side in shapes]
    ends = [i for i, (own, after) in enumerate(pairwise([*strides, 0])) if own != after and own >= _FINEST]
    taps, pieces, start = [], [], 0
    for end in ends:
        net, value = GraphBuilder(), "x"
        if start == 0:
            (value,) = net.embed("", stem, value)
        for index in range(start, end + 1):
            (value,) = net.embed(f"blocks.{index}", blocks[index], value)
        taps.append(Tap(shapes[end][1], strides[end]))
        pieces.append(net.build(value))
        start = end + 1
    return Encoder(name, tuple(taps), tuple(pieces))


def _output_shapes(graph: Graph, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    shapes = graph.shapes({"x": shape})
    return [shapes[name] for name in graph.outputs]
