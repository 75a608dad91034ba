"""The nodes of a cell, with what its edges have in common computed once or together: the same numbers.

- Edges of one input share its ReLU and its pooling, whose statistics are the same for all of them.
- Dense convolutions of all inputs and nodes are one, and so are depthwise ones of one dilation.
- Batch statistics of the 1x1 convolution behind a depthwise one follow from the covariance of what it reads.
  So it is linear with its normalisation, its weight and the sum over edges: one product for all dilations.

A strided skip is evaluated alone, as in the plain form. Maps are (N, H, W, C) in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.networks.graph_module import GraphModule
from search.spaces.gas.chain import CONV, DILATIONS, EDGES, POOL, SEPARABLE, SKIP, Edge
from search.supernet.gas.dilated import dilated
from search.supernet.gas.products import mixed, moments

_RATES = {SEPARABLE: 1, **DILATIONS}


class Operations(Protocol):
    """Whose operations they are."""

    stride: int

    def operation(self, edge: str, name: str) -> GraphModule:
        """One of them."""


def fused_nodes(
    cell: Operations, inputs: Sequence[Tensor], names: Sequence[str], weights: Tensor
) -> list[Tensor]:
    """What the two nodes give, in training mode.

    Args:
        inputs: (N, C, H, W) each.
        names: of the operations.
        weights: (edges, operations).
    """
    into = sum(edge.from_input for edge in EDGES)
    first, second = _Group(cell, EDGES[:into], inputs, names, weights[:into], cell.stride).nodes()
    (more,) = _Group(cell, EDGES[into:], [first], names, weights[into:], 1).nodes()
    return [first, second + more]


@dataclass
class _Group:
    """Edges from the same sources to some nodes, in the order of nodes and, within, of sources."""

    cell: Operations
    edges: Sequence[Edge]
    sources: Sequence[Tensor]
    names: Sequence[str]
    weights: Tensor
    stride: int

    def __post_init__(self) -> None:
        self._inputs, self._nodes = len(self.sources), len(self.edges) // len(self.sources)
        self._channels = self.sources[0].shape[1]

    def nodes(self) -> list[Tensor]:
        """Sums of what goes to each node, (N, C, H, W)."""
        raw = torch.cat(list(self.sources), 1).contiguous(memory_format=torch.channels_last)
        relu = functional.relu(raw)
        size = (len(raw), *(-(-side // self.stride) for side in raw.shape[2:]))
        if CONV in self.names:
            total = self._dense(relu).to(raw.dtype)
        else:
            total = raw.new_zeros(size[0] * size[1] * size[2], self._nodes * self._channels)
        products = list(self._as_they_are(raw))
        if rates := {name: _RATES[name] for name in self.names if name in _RATES}:
            rows, matrices, constant = self._separable(rates, relu)
            total = total + constant.to(raw.dtype)
            products.append((rows, matrices))
        with torch.autocast(raw.device.type, enabled=False):
            for rows, matrices in products:
                total = mixed(total, rows.to(raw.dtype), matrices.to(raw.dtype))
        return list(total.view(*size, -1).permute(0, 3, 1, 2).chunk(self._nodes, 1))

    def _shares(self, names: Sequence[str]) -> Tensor:
        """Weights of operations, (nodes, operations, inputs)."""
        places = [self.names.index(name) for name in names]
        return self.weights[:, places].view(self._nodes, self._inputs, -1).mT

    def _as_they_are(self, raw: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Maps that are weighed and no more, as rows and matrices. ``raw``: (N, inputs * C, H, W)."""
        identity = torch.eye(self._channels, dtype=raw.dtype, device=raw.device)
        same: dict[str, Tensor] = {}  # for all nodes
        if POOL in self.names:
            norms = self._modules([POOL], "norm")
            same[POOL], mean, var = _normalised(functional.max_pool2d(raw, 3, self.stride, 1), norms[0].eps)
            _track(norms, mean.repeat(self._nodes), var.repeat(self._nodes))
        if SKIP in self.names and self.stride == 1:
            same[SKIP] = raw
        elif SKIP in self.names:
            skips = [self.cell.operation(edge.name, SKIP)(self.sources[edge.source]) for edge in self.edges]
            own = self._shares([SKIP]).reshape(-1, 1, 1) * identity
            yield _rows(torch.cat(skips, 1)), own.view(self._nodes, -1, self._channels)
        if same:
            shares = self._shares(list(same)).flatten(1).T  # (maps, nodes)
            scaled = (shares[:, None, :, None] * identity[:, None]).flatten(2).flatten(0, 1)
            yield _rows(torch.cat(list(same.values()), 1)), scaled[None]

    def _dense(self, relu: Tensor) -> Tensor:
        """One convolution with a group for each source, its outputs by source, then node; their sums."""
        convs, norms = (self._modules([CONV], f"dense.{layer}") for layer in ("conv", "bn"))
        places = [n * self._inputs + source for source in range(self._inputs) for n in range(self._nodes)]
        weight = torch.cat([convs[place].weight for place in places])
        made = functional.conv2d(relu, weight, None, self.stride, 1, groups=self._inputs)
        ordered = [norms[place] for place in places]
        scale, shift = (torch.cat([getattr(norm, key) for norm in ordered]) for key in ("weight", "bias"))
        shares = self._shares([CONV]).flatten(1).T.flatten().repeat_interleave(self._channels)
        weighed, mean, var = _normalised(made, norms[0].eps, scale * shares, shift * shares)
        _track(ordered, mean, var)
        sums: Tensor = _rows(weighed).unflatten(1, (self._inputs, -1)).sum(1)
        return sums

    def _separable(self, rates: Mapping[str, int], relu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Depthwise convolutions of all edges as rows; their 1x1, normalised and weighed, as matrices by node
        and as what is added everywhere. Columns are by node, then operation, then source."""
        wide = torch.cat([relu] * self._nodes, 1)
        maps = [
            _rows(_depthwise(wide, self._modules([name], "depthwise"), self.stride, rate))
            for name, rate in rates.items()
        ]
        apart = torch.stack([own.unflatten(1, (self._nodes, -1)) for own in maps], 2).flatten(1)
        names, count = list(rates), len(self.edges) * len(rates)
        convs, norms = (self._modules(names, f"point.{layer}") for layer in ("conv", "bn"))
        with torch.autocast(apart.device.type, enabled=False):
            rows, mean, covariance = moments(apart, self._nodes * len(rates), self._inputs)
            weight = torch.cat([conv.weight for conv in convs]).view(count, self._channels, -1)
            scale = torch.cat([norm.weight for norm in norms]).view(count, -1)
            shift = torch.cat([norm.bias for norm in norms]).view(count, -1)
            made = (weight @ mean[..., None]).squeeze(-1)
            var = ((weight @ covariance) * weight).sum(-1)
            _track(norms, made, var * (len(rows) / (len(rows) - 1)))
            shares = self._shares(names).reshape(-1, 1)
            factor = shares * scale * torch.rsqrt(var + norms[0].eps)
            constant = (shares * shift - made * factor).view(self._nodes, -1, self._channels).sum(1)
            matrices = (weight * factor[..., None]).mT.reshape(self._nodes, -1, self._channels)
            return rows, matrices, constant.flatten()

    def _modules(self, names: Sequence[str], layer: str) -> list[Any]:
        """A layer of operations, of each edge: by node, by operation and then by source."""
        nodes = [self.edges[n * self._inputs : (n + 1) * self._inputs] for n in range(self._nodes)]
        return [
            self.cell.operation(edge.name, name).get_submodule(layer)
            for edges in nodes
            for name in names
            for edge in edges
        ]


def _depthwise(x: Tensor, convs: Sequence[nn.Conv2d], stride: int, rate: int) -> Tensor:
    """In float32 on CPUs, see ``search.networks.dilated_conv``."""
    weight = torch.cat([conv.weight for conv in convs])
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return dilated(x, weight, stride, rate)
    with torch.autocast("cpu", enabled=False):
        return dilated(x.float(), weight, stride, rate)


def _rows(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (pixels, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _normalised(
    x: Tensor, epsilon: float, scale: Tensor | None = None, shift: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation; with the mean and the unbiased variance of the batch, without a gradient."""
    wide = torch.promote_types(x.dtype, torch.float32)
    mean, var = (torch.zeros(x.shape[1], dtype=wide, device=x.device) for _ in range(2))
    made = functional.batch_norm(x, mean, var, scale, shift, training=True, momentum=1.0, eps=epsilon)
    return made, mean, var


@torch.no_grad()
def _track(norms: Sequence[Any], mean: Tensor, var: Tensor) -> None:
    """Update running statistics; ``var`` is unbiased."""
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
    for name, values in (("running_mean", mean), ("running_var", var)):
        rows = values.detach().reshape(len(norms), -1).unbind()
        torch._foreach_lerp_([getattr(norm, name) for norm in norms], list(rows), norms[0].momentum)
