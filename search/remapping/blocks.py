"""Blocks with their weights: one inverted residual as another, skips as blocks and blocks as skips."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from search.remapping.tensors import (
    OTHERS,
    Array,
    Norm,
    dense,
    embed_kernel,
    group_mask,
    grouped,
    keep,
    length,
    read,
)
from search.spaces.inverted_residual import SKIP, InvertedResidual

Tensors = Mapping[str, Array]
_TINY = 1e-12


@dataclass(frozen=True)
class Residual:
    """An inverted residual's weights, its 1x1 convolutions without groups.

    Attributes:
        expand: (hidden, in); ``project``: (out, hidden); ``kernel``: (hidden, k, k).
        groups: of both as it was made.
    """

    expand: Array
    expand_norm: Norm
    kernel: Array
    dilation: int
    depthwise_norm: Norm
    project: Array
    project_norm: Norm
    groups: int = 1

    @classmethod
    def of(cls, block: InvertedResidual, tensors: Tensors) -> "Residual":
        """From tensors by their names in the block's graph."""
        return cls(
            expand=dense(tensors["expand.conv.weight"], block.groups),
            expand_norm=norm_of(tensors, "expand.bn"),
            kernel=tensors["depthwise.conv.weight"][:, 0],
            dilation=block.dilation,
            depthwise_norm=norm_of(tensors, "depthwise.bn"),
            project=dense(tensors["project.conv.weight"], block.groups),
            project_norm=norm_of(tensors, "project.bn"),
            groups=block.groups,
        )

    def tensors(self, groups: int) -> dict[str, Array]:
        """By their names in the graph of a block with so many groups."""
        return {
            "expand.conv.weight": grouped(self.expand, groups),
            "depthwise.conv.weight": self.kernel[:, None],
            "project.conv.weight": grouped(self.project, groups),
            **norm_tensors("expand.bn", self.expand_norm),
            **norm_tensors("depthwise.bn", self.depthwise_norm),
            **norm_tensors("project.bn", self.project_norm),
        }


@dataclass(frozen=True)
class Ends:
    """Which old channel each new one is, before and after a block."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def fitted(old: Residual, block: InvertedResidual, ends: Ends, random: np.random.Generator) -> Residual:
    """The weights of a block as those of another one, between other channels."""
    hidden = (block.expansion or 1) * len(ends.inputs)
    chosen = _hidden(old, block.groups, ends, hidden)
    projected = read(old.project[list(ends.outputs)], chosen, block.groups, random)
    return Residual(
        expand=read(old.expand[list(chosen)], ends.inputs, block.groups, random),
        expand_norm=old.expand_norm.of(chosen),
        kernel=embed_kernel(old.kernel[list(chosen)], old.dilation, block.kernel, block.dilation),
        dilation=block.dilation,
        depthwise_norm=old.depthwise_norm.of(chosen),
        project=projected,
        project_norm=old.project_norm.of(ends.outputs),
        groups=block.groups,
    )


def _hidden(old: Residual, groups: int, ends: Ends, count: int) -> tuple[int, ...]:
    """Which hidden channels: each goes into the group where it reads and is read the most."""
    before = len(old.expand)
    if before == count and groups in (1, old.groups):
        return tuple(range(count))
    group_in = group_mask(groups, len(ends.inputs), groups)
    group_out = group_mask(groups, len(ends.outputs), groups)
    reads = np.stack([length(old.expand[:, list(ends.inputs)][:, own], 1) for own in group_in], 1)
    is_read = np.stack([length(old.project[list(ends.outputs)][own], 0) for own in group_out], 1)
    whole = np.maximum(length(old.expand, 1), _TINY)[:, None]
    scaled = np.abs(old.depthwise_norm.weight)[:, None]
    importance: Array = (scaled * is_read * reads / whole).astype(np.float32)
    if groups == old.groups and groups > 1:
        own = np.arange(before) // (before // groups)
        importance = np.where(own[:, None] == np.arange(groups), importance, np.float32(OTHERS))
    return keep(importance, count)


def closed(block: Residual) -> Residual:
    """A block that adds nothing to its input, and learns to."""
    return replace(block, project_norm=block.project_norm.closed())


def of_skip(tensors: Tensors, mean: Array, variance: Array) -> Residual:
    """The skip that projects, as an inverted residual that computes the same in evaluation.

    Its hidden channels are the inputs, through the ReLU and a depthwise convolution of one tap; of stride 2
    twice, the second time one pixel further.

    Args:
        mean, variance: of the inputs, as far as they are known.
    """
    size = len(mean)
    halves = "even.conv.weight" in tensors
    same, (middle, spread) = np.eye(size, dtype=np.float32), rectified(mean, variance)
    expand, kernel = same, np.zeros((size, 3, 3), np.float32)
    kernel[:, 1, 1] = 1
    into, behind = Norm.keeping(mean, variance), Norm.keeping(middle, spread)
    if not halves:
        project, norm = tensors["project.conv.weight"][:, :, 0, 0], norm_of(tensors, "project.bn")
        return Residual(expand, into, kernel, 1, behind, project, norm)
    even, odd = (tensors[f"{half}.conv.weight"][:, :, 0, 0] for half in ("even", "odd"))
    further = np.zeros_like(kernel)
    further[:, 2, 2] = 1
    return Residual(
        expand=np.concatenate([expand, expand]),
        expand_norm=into.joined(into),
        kernel=np.concatenate([kernel, further]),
        dilation=1,
        depthwise_norm=behind.joined(behind),
        project=np.concatenate(
            [np.hstack([even, np.zeros_like(even)]), np.hstack([np.zeros_like(odd), odd])]
        ),
        project_norm=norm_of(tensors, "even.bn").joined(norm_of(tensors, "odd.bn")),
    )


def passing(mean: Array, variance: Array) -> Residual:
    """A block without a residual addition that gives its input in evaluation, between equal channels: what is
    above and what is below zero apart, as ``mirrored`` has them."""
    weight, norm = mirrored(mean, variance)
    kernel = np.zeros((len(weight), 3, 3), np.float32)
    kernel[:, 1, 1] = 1
    above, below = rectified(mean, variance), rectified(-mean, variance)
    hidden = Norm.keeping(np.concatenate([above[0], below[0]]), np.concatenate([above[1], below[1]]))
    return Residual(weight, norm, kernel, 1, hidden, weight.T.copy(), Norm.keeping(mean, variance))


def mirrored(mean: Array, variance: Array) -> tuple[Array, Norm]:
    """A 1x1 convolution (2 C, C) with its normalisation: each of C channels, and then each negated.

    Behind a ReLU the one minus the other is the channel again.
    """
    same = np.eye(len(mean), dtype=np.float32)
    norm = Norm.keeping(mean, variance).joined(Norm.keeping(-mean, variance))
    return np.concatenate([same, -same]), norm


def multiplied(block: Residual) -> tuple[Array, Norm]:
    """A block as one 1x1 convolution (out, in) with its normalisation, as if there were no activations."""
    gain = block.depthwise_norm.scale * block.kernel.sum((1, 2)) * block.expand_norm.scale
    return block.project @ (gain[:, None] * block.expand), block.project_norm


def skip_tensors(weight: Array, norm: Norm, ends: Ends, stride: int, random: np.random.Generator) -> Tensors:
    """Of the skip that projects, from the weight (out, in) of one convolution and its normalisation."""
    rows = [list(ends.outputs)]
    names = ["project"]
    if stride > 1:
        middle = len(ends.outputs) // 2
        rows, names = [rows[0][:middle], rows[0][middle:]], ["even", "odd"]
    found: dict[str, Array] = {}
    for name, own in zip(names, rows, strict=True):
        found[f"{name}.conv.weight"] = read(weight[own], ends.inputs, 1, random)[:, :, None, None]
        found |= norm_tensors(f"{name}.bn", norm.of(own))
    return found


def skip_weight(tensors: Tensors) -> tuple[Array, Norm]:
    """Weight (out, in) of the skip that projects and its normalisation; of both halves at stride 2."""
    names = ("even", "odd") if "even.conv.weight" in tensors else ("project",)
    weights = [tensors[f"{name}.conv.weight"][:, :, 0, 0] for name in names]
    first, *rest = (norm_of(tensors, f"{name}.bn") for name in names)
    for other in rest:
        first = first.joined(other)
    return np.concatenate(weights), first


def norm_of(tensors: Tensors, name: str) -> Norm:
    """By its name."""
    return Norm(*(tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")))


def norm_tensors(name: str, norm: Norm) -> dict[str, Array]:
    """What ``norm_of`` reads."""
    return {f"{name}.{part}": values for part, values in norm.tensors().items()}


def parsed(block: str) -> InvertedResidual | None:
    """None for the skip."""
    return None if block == SKIP else InvertedResidual.parse(block)


def rectified(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance behind a ReLU, of normal distributions."""
    deviation = np.sqrt(np.maximum(variance, _TINY))
    ratio = mean / deviation
    density = np.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    above = np.array([(1 + math.erf(float(r) / math.sqrt(2))) / 2 for r in ratio])
    first = mean * above + deviation * density
    second = (mean**2 + deviation**2) * above + mean * deviation * density
    return first.astype(np.float32), np.maximum(second - first**2, 0).astype(np.float32)
