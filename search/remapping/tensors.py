"""What is done to single tensors where weights go from one network into another. Pure functions on arrays.

Channels are widened as in Net2Net (arXiv:1511.05641): a new one is a copy of an old one, and who reads it
shares the old weight among the copies, so that the network computes the same. The shares are uneven, drawn
from a seed: equal copies would get equal gradients and stay copies. Channels are narrowed to the most
important, kernels are embedded or cropped (FNA++, arXiv:2006.12986, section 3.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cost_models.ir.ops import BatchNorm2d

Array = npt.NDArray[np.float32]
EPSILON = BatchNorm2d(1).epsilon
OTHERS = -1.0
"""The importance of a channel in a part where it does not belong."""


@dataclass(frozen=True)
class Norm:
    """A batch normalisation: (channels,) each."""

    weight: Array
    bias: Array
    running_mean: Array
    running_var: Array

    @classmethod
    def keeping(cls, mean: Array, variance: Array) -> "Norm":
        """One that changes nothing of channels with these statistics, in training neither."""
        return cls(np.sqrt(variance + EPSILON), mean, mean, variance)

    def of(self, sources: Sequence[int]) -> "Norm":
        """Of these channels."""
        index = list(sources)
        return Norm(*(values[index] for values in self.tensors().values()))

    def joined(self, other: "Norm") -> "Norm":
        """Of its channels and then those of another."""
        pairs = zip(self.tensors().values(), other.tensors().values(), strict=True)
        return Norm(*(np.concatenate(pair) for pair in pairs))

    def closed(self) -> "Norm":
        """One that gives 0 for everything, and that learns."""
        nothing = np.zeros_like(self.weight)
        return Norm(nothing, nothing, self.running_mean, self.running_var)

    @property
    def scale(self) -> Array:
        """By which it multiplies in evaluation."""
        found: Array = self.weight / np.sqrt(self.running_var + EPSILON)
        return found

    @property
    def shift(self) -> Array:
        """What it adds then."""
        return self.bias - self.running_mean * self.scale

    def tensors(self) -> dict[str, Array]:
        """By their names in a state dict."""
        return {
            "weight": self.weight,
            "bias": self.bias,
            "running_mean": self.running_mean,
            "running_var": self.running_var,
        }


def embed_kernel(kernel: Array, dilation: int, size: int, new_dilation: int) -> Array:
    """A depthwise kernel (C, k, k) as one of another size (C, size, size) or dilation.

    Taps of the same size are taken as they are, whatever their dilation; else those at the same pixels, and
    the others are 0. Exact where every old tap has its pixel: 3 in 5, and 3 of dilation 2 in 5.
    """
    old = kernel.shape[-1]
    if old == size:
        return kernel
    found = np.zeros((len(kernel), size, size), kernel.dtype)
    places = _places(old, dilation, size, new_dilation)
    for row, new_row in places:
        for column, new_column in places:
            found[:, new_row, new_column] = kernel[:, row, column]
    return found


def embeds(size: int, dilation: int, new_size: int, new_dilation: int) -> bool:
    """Whether ``embed_kernel`` is exact."""
    if size == new_size:
        return size == 1 or dilation == new_dilation
    return len(_places(size, dilation, new_size, new_dilation)) == size


def _places(size: int, dilation: int, new_size: int, new_dilation: int) -> list[tuple[int, int]]:
    """Taps of a row of both that are at the same pixel."""
    new = {(tap - new_size // 2) * new_dilation: tap for tap in range(new_size)}
    pixels = [(tap - size // 2) * dilation for tap in range(size)]
    return [(tap, new[pixel]) for tap, pixel in enumerate(pixels) if pixel in new]


def keep(importance: Array, count: int) -> tuple[int, ...]:
    """Which old channel each of ``count`` new ones is.

    Narrower: the most important; wider: all, and copies of the most important. In each part they stand in
    the old order, copies beside each other.

    Args:
        importance: (old channels, parts): of each in each of the equal parts that new channels come in, such
            as groups of a convolution; ``OTHERS`` where it belongs in another part.
    """
    channels, parts = importance.shape
    room, taken = count // parts, [list[int]() for _ in range(parts)]
    order = [divmod(int(place), parts) for place in np.argsort(-importance, axis=None, kind="stable")]
    belongs = [(channel, part) for channel, part in order if importance[channel, part] > OTHERS]
    if {part for _, part in belongs} != set(range(parts)):
        belongs = order
    while any(len(own) < room for own in taken):
        left = set(range(channels))
        for channel, part in belongs:
            if channel in left and len(taken[part]) < room:
                taken[part].append(channel)
                left.remove(channel)
    return tuple(channel for own in taken for channel in sorted(own))


def by_parts(importance: Array, parts: int) -> Array:
    """Of channels (C,), which stay in the part in which they are: (C, parts). For ``keep``."""
    own = np.arange(len(importance)) // (len(importance) // parts)
    return np.where(own[:, None] == np.arange(parts), importance[:, None], OTHERS).astype(np.float32)


def parts_of(counts: Sequence[int], wanted: int) -> int:
    """``wanted``, where all these numbers of channels can be cut into so many equal parts, else 1."""
    return wanted if all(count % wanted == 0 for count in counts) else 1


def read(weight: Array, sources: Sequence[int], groups: int, random: np.random.Generator) -> Array:
    """What read old channels, (O, old), reads new ones, (O, new): copies of a channel share its weight.

    Args:
        groups: of the new convolution; outputs do not read other groups than theirs.
    """
    index = np.asarray(sources)
    whole = weight[:, index]
    if groups == 1 and len(set(sources)) == len(sources):
        return whole
    outputs, inputs = whole.shape
    seen = group_mask(outputs, inputs, groups)
    parts = random.uniform(0.5, 1.5, whole.shape) * seen
    totals = np.zeros((weight.shape[1], outputs))
    np.add.at(totals, index, parts.T)
    shares = parts / np.where(totals == 0, 1.0, totals)[index].T
    found: Array = (whole * shares).astype(np.float32)
    return found


def group_mask(outputs: int, inputs: int, groups: int) -> npt.NDArray[np.bool_]:
    """(outputs, inputs): what a convolution of so many groups connects."""
    of_output = np.arange(outputs) // (outputs // groups)
    found: npt.NDArray[np.bool_] = of_output[:, None] == np.arange(inputs) // (inputs // groups)
    return found


def dense(weight: Array, groups: int) -> Array:
    """A grouped 1x1 kernel (O, I / groups, 1, 1) as a matrix (O, I) with zeros between groups."""
    outputs, own = weight.shape[:2]
    tiled = np.tile(weight.reshape(outputs, own), (1, groups))
    found: Array = np.where(group_mask(outputs, own * groups, groups), tiled, np.float32(0))
    return found


def grouped(matrix: Array, groups: int) -> Array:
    """The 1x1 kernel (O, I / groups, 1, 1) of a matrix (O, I); what is between groups is left out."""
    outputs, inputs = matrix.shape
    rows, columns = outputs // groups, inputs // groups
    own = [
        matrix[group * rows : (group + 1) * rows, group * columns : (group + 1) * columns]
        for group in range(groups)
    ]
    return np.concatenate(own).reshape(outputs, columns, 1, 1)


def length(matrix: Array, axis: int) -> Array:
    """Euclidean length along an axis."""
    found: Array = np.sqrt((matrix.astype(np.float64) ** 2).sum(axis)).astype(np.float32)
    return found
