"""The nodes of a cell, with what its edges have in common computed once or together: the same numbers.

- Edges of one input share its ReLU and its pooling, whose statistics are the same for all of them.
- Dense convolutions of all inputs and nodes are one, and so are depthwise ones of one dilation.
- Batch statistics of the 1x1 convolution behind a depthwise one follow from the covariance of what it reads.
  So it is linear with its normalisation, its weight and the sum over edges: one product for a dilation.

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

Weights = Mapping[str, Mapping[str, Tensor]]
"""Edge -> operation -> weight."""
_RATES = {SEPARABLE: 1, **DILATIONS}


class Operations(Protocol):
    """Whose operations they are."""

    stride: int

    def operation(self, edge: str, name: str) -> GraphModule:
        """One of them."""


def fused_nodes(cell: Operations, inputs: Sequence[Tensor], weights: Weights) -> list[Tensor]:
    """What the two nodes give, in training mode; ``inputs``: (N, C, H, W) each."""
    into = [edge for edge in EDGES if edge.from_input]
    first, second = _Group(cell, into, inputs, weights, cell.stride).nodes()
    (more,) = _Group(cell, [edge for edge in EDGES if not edge.from_input], [first], weights, 1).nodes()
    return [first, second + more]


@dataclass(frozen=True)
class _Term:
    """What an operation adds to the nodes.

    Attributes:
        rows: pixels by channels.
        matrices: by which they are multiplied, group by group; None where they are what is added.
        constant: for each channel of each node, or None.
    """

    rows: Tensor
    matrices: Tensor | None
    constant: Tensor | None = None


@dataclass
class _Group:
    """Edges from the same sources to some nodes, in the order of nodes and, within, of sources."""

    cell: Operations
    edges: Sequence[Edge]
    sources: Sequence[Tensor]
    weights: Weights
    stride: int

    def __post_init__(self) -> None:
        self._names = list(self.weights[self.edges[0].name])
        self._inputs, self._nodes = len(self.sources), len(self.edges) // len(self.sources)
        self._channels = self.sources[0].shape[1]

    def nodes(self) -> list[Tensor]:
        """Sums of what goes to each node, (N, C, H, W)."""
        raw = torch.cat(list(self.sources), 1).contiguous(memory_format=torch.channels_last)
        size = (len(raw), *(-(-side // self.stride) for side in raw.shape[2:]))
        terms = list(self._terms(raw))
        constants = [term.constant for term in terms if term.constant is not None]
        with torch.autocast(raw.device.type, enabled=False):
            total = raw.new_zeros(size[0] * size[1] * size[2], self._nodes * self._channels)
            if constants:
                total = total + sum(constants[1:], constants[0]).to(raw.dtype)
            for term in terms:
                rows = term.rows.to(raw.dtype)
                matrices = term.matrices
                total = total + rows if matrices is None else mixed(total, rows, matrices.to(raw.dtype))
        return list(total.view(*size, -1).permute(0, 3, 1, 2).chunk(self._nodes, 1))

    def _terms(self, raw: Tensor) -> Iterator[_Term]:
        """What the operations give. ``raw``: (N, inputs * C, H, W)."""
        relu = functional.relu(raw)
        wide = torch.cat([relu] * self._nodes, 1)
        for name, rate in _RATES.items():
            if name in self._names:
                yield self._separable(
                    name, _depthwise(wide, self._modules(name, "depthwise"), self.stride, rate)
                )
        if CONV in self._names:
            yield self._dense(relu)
        if POOL in self._names:
            norms = self._modules(POOL, "norm")
            pooled, mean, var = _normalised(functional.max_pool2d(raw, 3, self.stride, 1), norms[0].eps)
            _track(norms, mean.repeat(self._nodes), var.repeat(self._nodes))
            yield self._as_it_is(POOL, pooled)
        if SKIP in self._names and self.stride == 1:
            yield self._as_it_is(SKIP, raw)
        elif SKIP in self._names:
            skips = [self.cell.operation(edge.name, SKIP)(self.sources[edge.source]) for edge in self.edges]
            identity = torch.eye(self._channels, dtype=raw.dtype, device=raw.device)
            shares = self._shares(SKIP).view(-1, 1, 1) * identity
            yield _Term(_rows(torch.cat(skips, 1)), self._of_edges(shares))

    def _shares(self, name: str) -> Tensor:
        """Weights of an operation, (nodes, inputs)."""
        shares = torch.stack([self.weights[edge.name][name] for edge in self.edges])
        return shares.view(self._nodes, self._inputs)

    def _as_it_is(self, name: str, maps: Tensor) -> _Term:
        """Of maps that are the same for all nodes, (N, inputs * C, H, W)."""
        identity = torch.eye(self._channels, dtype=maps.dtype, device=maps.device)
        shares = self._shares(name).T.contiguous().to(maps.dtype)
        return _Term(_rows(maps), torch.kron(shares, identity)[None])

    def _of_edges(self, matrices: Tensor) -> Tensor:
        """Matrices of edges, (edges, C, C), by node: (nodes, inputs * C, C)."""
        return matrices.view(self._nodes, -1, self._channels)

    def _dense(self, relu: Tensor) -> _Term:
        """One convolution with a group for each source, its outputs by source and then by node."""
        convs, norms = (self._modules(CONV, f"dense.{layer}") for layer in ("conv", "bn"))
        places = [n * self._inputs + source for source in range(self._inputs) for n in range(self._nodes)]
        weight = torch.cat([convs[place].weight for place in places])
        made = functional.conv2d(relu, weight, None, self.stride, 1, groups=self._inputs)
        ordered = [norms[place] for place in places]
        scale, shift = (torch.cat([getattr(norm, key) for norm in ordered]) for key in ("weight", "bias"))
        shares = self._shares(CONV).T.flatten().repeat_interleave(self._channels)
        weighed, mean, var = _normalised(made, norms[0].eps, scale * shares, shift * shares)
        _track(ordered, mean, var)
        return _Term(_rows(weighed).unflatten(1, (self._inputs, -1)).sum(1), None)

    def _separable(self, name: str, maps: Tensor) -> _Term:
        """1x1 convolutions of the maps of all edges, (N, edges * C, H, W), normalised and weighed."""
        convs, norms = (self._modules(name, f"point.{layer}") for layer in ("conv", "bn"))
        with torch.autocast(maps.device.type, enabled=False):
            rows, mean, covariance = moments(_rows(maps), self._nodes, self._channels)
            weight = torch.stack([conv.weight.flatten(1) for conv in convs])
            scale, shift = (torch.stack([getattr(norm, key) for norm in norms]) for key in ("weight", "bias"))
            made = (weight @ mean[..., None]).squeeze(-1)
            var = ((weight @ covariance) * weight).sum(-1)
            _track(norms, made, var * (len(rows) / (len(rows) - 1)))
            shares = self._shares(name).view(-1, 1)
            factor = shares * scale * torch.rsqrt(var + norms[0].eps)
            constant = (shares * shift - made * factor).view(self._nodes, self._inputs, -1).sum(1).flatten()
            return _Term(rows, self._of_edges((weight * factor[..., None]).mT.contiguous()), constant)

    def _modules(self, name: str, layer: str) -> list[Any]:
        """A layer of an operation, of each edge."""
        return [self.cell.operation(edge.name, name).get_submodule(layer) for edge in self.edges]


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
