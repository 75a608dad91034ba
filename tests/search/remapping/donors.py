"""What tests of remapping share: short chains, donors, what a graph computes with weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from cost_models.ir.graph import Graph
from cost_models.ir.weights import random_weights
from search.architecture import Architecture
from search.networks.graph_module import GraphModule
from search.remapping.donor import Donor
from search.remapping.tensors import Array
from search.spaces.chain import ChainSpace, Position
from search.spaces.squeezenas import SQUEEZENAS_CANDIDATES

# Channels of the stages of two positions each, at strides 4, 8, 16 and 16, behind a stem.
CHANNELS = (8, 8, 12, 16, 24)
WIDER = (12, 16, 18, 24, 32)


def chain(
    name: str = "short", channels: Sequence[int] = CHANNELS, *, head: int | None = 48, middle: int = 16
) -> ChainSpace:
    """A short one of SqueezeNAS's blocks."""
    positions = []
    for before, after, stride in zip(channels, channels[1:], (2, 2, 2, 1), strict=False):
        positions.append(Position(before, after, stride, SQUEEZENAS_CANDIDATES))
        positions.append(Position(after, after, 1, SQUEEZENAS_CANDIDATES))
    return ChainSpace(
        name=name,
        summary="for tests",
        stem=channels[0],
        positions=tuple(positions),
        head=head,
        tap=3,
        decoder="lraspp",
        mid_channels=middle,
    )


def network(blocks: Sequence[str], space: str = "short", **more: object) -> Architecture:
    """One of a space that is registered."""
    given = {"classes": "cityscapes", "name": "donor", **more}
    return Architecture.model_validate({"space": space, "blocks": list(blocks), **given})


def donor(architecture: Architecture, seed: int = 0) -> Donor:
    """With random weights."""
    return Donor(architecture, random_weights(architecture.network(), seed), Path("donor.pth"))


def outputs(graph: Graph, tensors: Mapping[str, Array], *inputs: Array) -> Array:
    """What a graph gives in evaluation; what is missing begins as in a training."""
    torch.manual_seed(1)
    module = GraphModule(graph).eval()
    given = {name: torch.from_numpy(values) for name, values in tensors.items()}
    assert not module.load_state_dict(given, strict=False).unexpected_keys
    with torch.no_grad():
        found = module(*map(torch.from_numpy, inputs))
    assert isinstance(found, torch.Tensor)
    array: Array = found.numpy()
    return array


def picture(channels: int = 3, side: int = 64) -> Array:
    """Noise (1, channels, side, side)."""
    random = np.random.default_rng(5)
    return random.normal(size=(1, channels, side, side)).astype(np.float32)
