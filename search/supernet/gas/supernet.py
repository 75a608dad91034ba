"""All networks of a chain of cells in one, with shared weights (after GAS, arXiv:1909.06793)."""

import torch
from torch import Tensor, nn

from search.errors import InvalidResolution
from search.networks.graph_module import GraphModule
from search.resolution import Resolution
from search.spaces.gas.chain import EDGES, INPUTS, NODES
from search.spaces.gas.space import GasSpace
from search.spaces.gas.walk import LiveCell, live_cells
from search.spaces.space import Genotype, Head, at_stride
from search.supernet.gas.cell import Form, MixedCell

_INITIAL = 1e-3  # spread of the logits


class CellSupernet(nn.Module):
    """Every edge of every cell is the sum of its operations, each times a weight.

    Both forms have the same parameters under the same names and compute the same numbers. ``fused`` shares
    what the edges of one input have in common, in training mode and where statistics are of one process; else
    operations are evaluated in turn.

    Args:
        outputs: channels of the network's last map.
        form: ``plain`` or ``fused``.
    """

    def __init__(self, space: GasSpace, outputs: int, *, stride: int = 1, form: Form = "fused") -> None:
        super().__init__()
        self.space, self._form = space, form
        chain = space.chain
        self.stem = GraphModule(space.stem_graph())
        self.cells = nn.ModuleList(MixedCell(chain, index, form) for index in range(chain.cells))
        self.decoder = GraphModule(at_stride(space.decoder_graph(outputs), stride))
        shape = (chain.cells, len(EDGES), len(chain.operations))
        self.logits = nn.Parameter(_INITIAL * torch.randn(shape))

    def weight_parameters(self) -> list[nn.Parameter]:
        """All but the logits."""
        return [parameter for parameter in self.parameters() if parameter is not self.logits]

    def logit_parameters(self) -> list[nn.Parameter]:
        """One tensor: (cells, edges, operations)."""
        return [self.logits]

    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        """Last maps (N, outputs, H, W) of images (N, 3, H, W), RGB, ImageNet-normalised.

        Args:
            weights: (cells, edges, operations).

        Raises InvalidResolution for sides that the chain does not divide, or that are too small; and for one
        image to learn from, where statistics are of one process.
        """
        self._check(images)
        if self._form == "fused":
            images = images.contiguous(memory_format=torch.channels_last)
        stem = self.stem(images)
        first = second = stem
        for cell, own in zip(self.cells, weights, strict=True):
            first, second = second, cell(first, second, own)
        last: Tensor = self.decoder(second, images, images)
        return last

    def _check(self, images: Tensor) -> None:
        size, stride = Resolution(*images.shape[-2:]), self.space.chain.stride
        self.space.check_resolution(size)
        if size.height % stride or size.width % stride:
            nearest = Resolution(*(-(-side // stride) * stride for side in size))
            raise InvalidResolution(
                f"crop {size}: a supernet takes sides that {stride} divides; the nearest is {nearest}"
            )
        alone = type(self.decoder.get_submodule("pooled.bn")) is nn.BatchNorm2d
        if self.training and alone and len(images) < 2:
            raise InvalidResolution(
                f"crop {size}, {len(images)} image: the decoder's pooled map has one pixel, of which there "
                "are no batch statistics; take 2 images or more"
            )

    def extract(self, genotype: Genotype, head: Head) -> dict[str, Tensor]:
        """State dict of a network; its tensors are the supernet's own, or columns of them.

        A convolution that reads a cell of which a node is left out has that node's columns left out.

        Raises InvalidArchitecture, UnknownCandidate: no network of the space.
        """
        chosen = self.space.check(genotype)
        cells, own = live_cells(self.space.chain, chosen), self.state_dict()
        with torch.device("meta"):
            wanted = GraphModule(self.space.network(chosen, head)).state_dict()
        found = {}
        for name, like in wanted.items():
            value = own[_own_name(name, chosen)]
            if value.shape != like.shape:
                value = value[:, _columns(name, cells, value.shape[1])]
            found[name] = value
        return found


def _own_name(name: str, chosen: Genotype) -> str:
    """Of a network's tensor in the supernet, where every edge has all operations."""
    first, *rest = name.split(".")
    edge = ".".join((first, *rest[:2]))
    return f"{edge}.{chosen[edge]}.{'.'.join(rest[2:])}" if edge in chosen else name


def _columns(name: str, cells: list[LiveCell], count: int) -> Tensor:
    """Channels of what a convolution reads whose nodes are there."""
    first, *rest = name.split(".")
    maker = cells[-1] if first != "cells" else cells[int(rest[0]) - INPUTS + int(rest[1][2:])]
    return torch.tensor(maker.nodes).repeat_interleave(count // NODES)
