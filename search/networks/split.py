"""Networks over an encoder in two halves, so that a decoder can learn from maps that were computed before."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cost_models.ir.graph import Graph
from search.architecture import Architecture
from search.errors import InvalidArchitecture
from search.networks.auxiliary import HasTrainingHeads
from search.networks.beginning import begin_quietly
from search.networks.graph_module import GraphModule
from search.networks.names import ENCODER, HasEncoder

_IMAGE = "x"


class SplitNetwork(GraphModule):
    """Image (N, 3, H, W) -> logits (N, outputs, H, W); in training mode those of heads for it alone as well.

    Attributes:
        taken: numbers of the encoder's taps that the decoder reads, ascending.

    Raises InvalidArchitecture for networks of a space that has no encoder.
    """

    def __init__(self, architecture: Architecture) -> None:
        space = architecture.search_space
        if not isinstance(space, HasEncoder):
            raise InvalidArchitecture(f"{architecture.name}: networks of {space.name} have no encoder")
        deployed, learning = architecture.network(), architecture.network()
        if isinstance(space, HasTrainingHeads):
            learning = space.training_network(architecture.genotype, architecture.head)
        super().__init__(learning)
        self.architecture = architecture
        begin_quietly(self, architecture.head)
        maps = [f"{ENCODER}{piece.outputs[0]}" for piece in space.encoder.pieces]
        read = {name for node in learning.nodes if not _is_encoders(node.name) for name in node.inputs}
        self.taken = [index for index, name in enumerate(maps) if name in read]
        taps = tuple(maps[index] for index in self.taken)
        own = tuple(node for node in learning.nodes if _is_encoders(node.name))
        self._encoder = Graph((_IMAGE,), own, taps)
        self._learning, self._deployed = (_decoder(graph, taps) for graph in (learning, deployed))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        (images,) = inputs
        return self.decode(self.encode(images), images.shape[-2:])

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """The taps that the decoder reads, of images (N, 3, H, W)."""
        found = self._compute(self._encoder, images)
        return found if isinstance(found, tuple) else (found,)

    def decode(self, taps: Sequence[Tensor], size: Sequence[int]) -> Tensor | tuple[Tensor, ...]:
        """Logits of the taps that it reads, (N, outputs, *size), bilinear."""
        height, width = size
        image = torch.empty((1, 0, height, width), device=taps[0].device)  # whose size alone is read
        return self._compute(self._learning if self.training else self._deployed, *taps, image)

    def halves(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the encoder, and all others."""
        named = list(self.named_parameters())
        return [p for n, p in named if _is_encoders(n)], [p for n, p in named if not _is_encoders(n)]


def _is_encoders(name: str) -> bool:
    return name.startswith(ENCODER)


def _decoder(graph: Graph, taps: tuple[str, ...]) -> Graph:
    nodes = tuple(node for node in graph.nodes if not _is_encoders(node.name))
    return Graph((*taps, _IMAGE), nodes, graph.outputs)
