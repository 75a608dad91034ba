"""Networks in PyTorch: an architecture with its weights, ready to train or evaluate."""

from pathlib import Path

import torch
from torch import Tensor

from search.architecture import Architecture
from search.networks.beginning import begin_quietly
from search.networks.graph_module import GraphModule
from search.networks.weights import load_weights
from search.resolution import Resolution


class Network(GraphModule):
    """A network with maps: image (N, 3, H, W), RGB, ImageNet-normalised -> (N, outputs, H, W), of
    segmentation logits, of depth metres; of pose heat maps, a stride (``Head.stride``) smaller.

    Any size from 64x64 up works that the stride divides, odd ones too where it is 1; others raise
    InvalidResolution naming the nearest that does.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture.network())
        self.architecture, self._stride = architecture, architecture.head.stride
        begin_quietly(self, architecture.head)

    def forward(self, *inputs: Tensor) -> Tensor:
        Resolution(*inputs[0].shape[-2:]).checked().divided_by(self._stride)
        logits = super().forward(*inputs)
        assert isinstance(logits, Tensor)
        return logits


def build_network(architecture: Architecture, weights: str | Path | None = None) -> Network:
    """The network of an architecture, with weights from a file or freshly initialised.

    Raises InvalidWeights listing every tensor that does not fit.
    """
    network = Network(architecture)
    if weights is not None:
        tensors = {k: torch.from_numpy(v) for k, v in load_weights(architecture, Path(weights)).items()}
        network.load_state_dict(tensors, strict=True)
    return network
