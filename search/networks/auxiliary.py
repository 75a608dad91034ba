"""Heads that a network has while it learns, and not where it is deployed."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from cost_models.ir.graph import Graph
from search.architecture import Architecture
from search.errors import InvalidArchitecture
from search.networks.beginning import begin_quietly
from search.networks.graph_module import GraphModule
from search.spaces.space import Genotype, Head

PREFIX = "auxiliary."
"""Names of their tensors begin so."""


@runtime_checkable
class HasTrainingHeads(Protocol):
    """A space whose networks have such heads."""

    def training_network(self, genotype: Genotype, head: Head) -> Graph:
        """The network with more outputs of the shape of its own; their nodes begin with ``PREFIX``."""


class TrainingNetwork(GraphModule):
    """A network with the heads of its training: image (N, 3, H, W) -> logits (N, classes, H, W).

    In training mode the logits of the network and of each of those heads, else those of the network alone,
    and nothing else is computed.

    Raises InvalidArchitecture for networks of a space that has no such heads.
    """

    def __init__(self, architecture: Architecture) -> None:
        space = architecture.search_space
        if not isinstance(space, HasTrainingHeads):
            raise InvalidArchitecture(
                f"{architecture.name}: networks of {space.name} have no heads for training alone"
            )
        super().__init__(space.training_network(architecture.genotype, architecture.head))
        self.architecture = architecture
        self._deployed = architecture.network()
        begin_quietly(self, architecture.head)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.training:
            return super().forward(*inputs)
        return self._compute(self._deployed, *inputs)

    def deployed_state(self) -> dict[str, Tensor]:
        """Tensors of the network without those heads, as ``Network`` has them."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(PREFIX)}
