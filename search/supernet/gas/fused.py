"""The nodes of a cell, with what its edges have in common computed once or together: the same numbers.

- Edges of one input share its ReLU and its pooling, whose statistics are the same for all of them.
- Dense convolutions of all inputs and nodes are one, and so are depthwise ones of one dilation.
- A 1x1 convolution behind a depthwise one is linear, so its batch statistics follow from the covariance of
  what it reads: normalisation and weight of the operation become part of it, and all that go to one node are
  a single convolution, which also adds them.

A strided skip is evaluated alone, as in the plain form.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.networks.graph_module import GraphModule
from search.spaces.gas.chain import CONV, DILATIONS, EDGES, POOL, SEPARABLE, SKIP, Edge

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


class _Group:
    """Edges from the same sources to some nodes, in the order of nodes and, within, of sources."""

    def __init__(
        self,
        cell: Operations,
        edges: Sequence[Edge],
        sources: Sequence[Tensor],
        weights: Weights,
        stride: int,
    ) -> None:
        self._cell, self._edges, self._weights, self._stride = cell, edges, weights, stride
        self._sources, self._names = sources, list(weights[edges[0].name])
        self._inputs, self._nodes = len(sources), len(edges) // len(sources)
        self._channels = sources[0].shape[1]

    def nodes(self) -> Sequence[Tensor]:
        """Sums of what goes to each node, (N, C, H, W)."""
        raw = torch.cat(list(self._sources), 1).contiguous()
        relu = functional.relu(raw)
        terms: list[Tensor] = []
        if POOL in self._names:
            terms.append(self._mixed(POOL, self._pooled(raw)))
        if SKIP in self._names:
            terms.append(self._mixed(SKIP, raw) if self._stride == 1 else self._skips())
        if CONV in self._names:
            terms.append(self._dense(relu))
        if set(_RATES) & set(self._names):
            terms.append(self._separable(relu))
        total: Tensor = sum(terms[1:], terms[0])
        return total.chunk(self._nodes, 1)

    def _shares(self, name: str) -> Tensor:
        """Weights of an operation, (edges,)."""
        return torch.stack([self._weights[edge.name][name] for edge in self._edges])

    def _modules(self, name: str, layer: str) -> list[Any]:
        """A layer of an operation, of each edge."""
        return [self._cell.operation(edge.name, name).get_submodule(layer) for edge in self._edges]

    def _mixed(self, name: str, maps: Tensor) -> Tensor:
        """Of maps that are the same for all nodes, (N, inputs * C, H, W) -> (N, nodes * C, H, W)."""
        shares = self._shares(name).view(self._nodes, self._inputs).to(maps.dtype)
        mixed = shares @ maps.reshape(len(maps), self._inputs, -1)
        return mixed.view(len(maps), -1, *maps.shape[2:])

    def _pooled(self, raw: Tensor) -> Tensor:
        pooled = functional.max_pool2d(raw, 3, self._stride, 1)
        norms = self._modules(POOL, "norm")
        normalised, mean, var = _normalised(pooled, None, None, norms[0].eps)
        _track(norms, mean.repeat(self._nodes), var.repeat(self._nodes))
        return normalised

    def _skips(self) -> Tensor:
        """Strided ones."""
        found = []
        for start in range(0, len(self._edges), self._inputs):
            pairs = zip(self._edges[start : start + self._inputs], self._sources, strict=True)
            terms = [
                self._weights[edge.name][SKIP] * self._cell.operation(edge.name, SKIP)(x) for edge, x in pairs
            ]
            found.append(sum(terms[1:], terms[0]))
        return torch.cat(found, 1)

    def _dense(self, relu: Tensor) -> Tensor:
        """One convolution with a group for each source; its normalisation also weighs."""
        order = [
            node * self._inputs + source for source in range(self._inputs) for node in range(self._nodes)
        ]
        convs, norms = (self._modules(CONV, f"dense.{layer}") for layer in ("conv", "bn"))
        weight = torch.cat([convs[place].weight for place in order])
        maps = functional.conv2d(relu, weight, None, self._stride, 1, groups=self._inputs)
        shares = self._shares(CONV)[order].repeat_interleave(self._channels)
        ordered = [norms[place] for place in order]
        scale, shift = (torch.cat([getattr(n, key) for n in ordered]) * shares for key in ("weight", "bias"))
        weighed, mean, var = _normalised(maps, scale, shift, ordered[0].eps)
        _track(ordered, mean, var)
        total: Tensor = weighed.unflatten(1, (self._inputs, -1)).sum(1)
        return total

    def _separable(self, relu: Tensor) -> Tensor:
        """Depthwise convolutions by dilation, then one 1x1 convolution with a group for each node."""
        names = [name for name in _RATES if name in self._names]
        wide = relu.repeat(1, self._nodes, 1, 1)
        spread = [
            _depthwise(wide, self._modules(name, "depthwise"), self._stride, _RATES[name]) for name in names
        ]
        # (N, nodes, operations, inputs * C, H, W)
        maps = torch.stack([own.unflatten(1, (self._nodes, -1)) for own in spread], 2)
        size = maps.shape[-2:]
        with torch.autocast(relu.device.type, enabled=False):
            weight, bias = self._points(
                names, maps.to(_wide(maps)).reshape(len(maps), -1, self._channels, *size)
            )
        return functional.conv2d(maps.reshape(len(maps), -1, *size), weight, bias, groups=self._nodes)

    def _points(self, names: Sequence[str], maps: Tensor) -> tuple[Tensor, Tensor]:
        """1x1 convolutions of ``maps`` (N, nodes * operations * inputs, C, H, W), normalised and weighed."""
        mean, covariance = _moments(maps)
        convs, norms = ([self._modules(name, f"point.{layer}") for name in names] for layer in ("conv", "bn"))
        places = [
            (at, node * self._inputs + source)
            for node in range(self._nodes)
            for at in range(len(names))
            for source in range(self._inputs)
        ]
        ordered = [norms[at][place] for at, place in places]
        weight = torch.stack([convs[at][place].weight.flatten(1) for at, place in places])
        scale, shift = (torch.stack([getattr(n, key) for n in ordered]) for key in ("weight", "bias"))
        made = (weight @ mean[..., None]).squeeze(-1)
        var = ((weight @ covariance) * weight).sum(-1)
        count = maps.numel() // maps.shape[1] // self._channels
        _track(ordered, made.flatten(), var.flatten() * (count / (count - 1)))
        rows = torch.stack([self._shares(name) for name in names])
        shares = torch.stack([rows[at, place] for at, place in places])[:, None]
        factor = shares * scale * torch.rsqrt(var + ordered[0].eps)
        bias = (shares * shift - made * factor).unflatten(0, (self._nodes, -1)).sum(1).flatten()
        mixed = (weight * factor[..., None]).unflatten(0, (self._nodes, -1)).transpose(1, 2)
        return mixed.reshape(self._nodes * self._channels, -1, 1, 1), bias


def _depthwise(x: Tensor, convs: Sequence[nn.Conv2d], stride: int, rate: int) -> Tensor:
    """In float32 on CPUs, see ``search.networks.dilated_conv``."""
    weight = torch.cat([conv.weight for conv in convs])
    narrow = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    with torch.autocast(x.device.type, enabled=torch.is_autocast_enabled(x.device.type) and not narrow):
        x = x.float() if narrow else x
        return functional.conv2d(x, weight, None, stride, rate, rate, groups=len(weight))


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (G, C) and biased covariance (G, C, C) of ``maps`` (N, G, C, H, W), with a gradient."""
    flat = maps.flatten(3)
    mean = flat.mean((0, 3))
    # what is centred adds up to 0, so nothing flows back through the mean here
    centred = flat - mean.detach()[:, :, None]
    products = centred.flatten(0, 1) @ centred.flatten(0, 1).mT
    return mean, products.unflatten(0, maps.shape[:2]).sum(0) / (len(maps) * flat.shape[3])


def _normalised(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation; with the mean and the unbiased variance of the batch, without a gradient."""
    mean, var = (torch.zeros(x.shape[1], dtype=_wide(x), device=x.device) for _ in range(2))
    made = functional.batch_norm(x, mean, var, scale, shift, training=True, momentum=1.0, eps=epsilon)
    return made, mean, var


def _wide(x: Tensor) -> torch.dtype:
    """Of statistics: never narrower than float32."""
    return torch.promote_types(x.dtype, torch.float32)


@torch.no_grad()
def _track(norms: Sequence[Any], mean: Tensor, var: Tensor) -> None:
    """Update running statistics; ``var`` is unbiased."""
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
    for name, values in (("running_mean", mean), ("running_var", var)):
        rows = values.detach().view(len(norms), -1).unbind()
        torch._foreach_lerp_([getattr(norm, name) for norm in norms], list(rows), norms[0].momentum)
