"""How networks begin that nobody trained yet."""

import torch
from torch import nn

from cost_models.ir.ops import Add, Conv2d, Crop, Resize
from search.networks.graph_module import GraphModule
from search.spaces.space import Head

_QUIET = 1e-3  # deviation of weights, as of the last layer in arXiv:1804.06208


@torch.no_grad()
def begin_quietly(module: GraphModule, head: Head) -> None:
    """Where a head wants that, make the convolutions that give the outputs give next to nothing.

    Heat maps are 0 nearly everywhere: from outputs as large as others begin with, that takes epochs to learn.
    """
    ends = set(module.graph.outputs) if head.quiet else set()
    for node in reversed(module.graph.nodes):
        if node.name not in ends:
            continue
        if isinstance(node.op, Resize | Crop | Add):
            ends.update(node.inputs)
        elif isinstance(node.op, Conv2d):
            for name, parameter in module.get_submodule(node.name).named_parameters():
                if name == "weight":
                    nn.init.normal_(parameter, std=_QUIET)
                else:
                    nn.init.zeros_(parameter)
