"""What stands behind a chain's blocks, with its weights: LR-ASPP and the 1x1 convolution before it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from search.remapping.blocks import mirrored, norm_of, norm_tensors
from search.remapping.classes import ClassMatch
from search.remapping.tensors import Array, Norm, by_parts, keep, length, read


@dataclass(frozen=True)
class Tail:
    """The last convolution (``head``), if there is one, and LR-ASPP behind it.

    Attributes:
        head: (read by the decoder, last stream); ``high`` and ``gate``: (mid, read); ``low``: (classes, fine
            map); ``classify``: (classes, mid).
    """

    head: Array | None
    head_norm: Norm | None
    high: Array
    high_norm: Norm
    gate: Array
    gate_bias: Array
    classify: Array
    classify_bias: Array
    low: Array
    low_bias: Array

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> "Tail":
        """From tensors by our names."""
        has = "head.conv.weight" in tensors

        def matrix(name: str) -> Array:
            return tensors[f"{name}.weight"][:, :, 0, 0]

        return cls(
            head=matrix("head.conv") if has else None,
            head_norm=norm_of(tensors, "head.bn") if has else None,
            high=matrix("decoder.high.conv"),
            high_norm=norm_of(tensors, "decoder.high.bn"),
            gate=matrix("decoder.gate"),
            gate_bias=tensors["decoder.gate.bias"],
            classify=matrix("decoder.classify_high"),
            classify_bias=tensors["decoder.classify_high.bias"],
            low=matrix("decoder.classify_low"),
            low_bias=tensors["decoder.classify_low.bias"],
        )

    def with_head(self, mean: Array, variance: Array) -> "Tail":
        """The same behind a convolution whose ReLU loses nothing. Statistics are of the last stream."""
        weight, norm = mirrored(mean, variance)
        high, gate = (np.hstack([own, -own]) for own in (self.high, self.gate))
        return replace(self, head=weight, head_norm=norm, high=high, gate=gate)

    def without_head(self) -> "Tail":
        """With the last convolution multiplied in, as if it had no ReLU."""
        assert self.head is not None
        assert self.head_norm is not None
        weight, shift = self.head_norm.scale[:, None] * self.head, self.head_norm.shift
        norm = replace(self.high_norm, running_mean=self.high_norm.running_mean - self.high @ shift)
        return replace(
            self,
            head=None,
            head_norm=None,
            high=self.high @ weight,
            high_norm=norm,
            gate=self.gate @ weight,
            gate_bias=self.gate_bias + self.gate @ shift,
        )


def tail_tensors(
    tail: Tail,
    last: tuple[int, ...],
    low: tuple[int, ...] | None,
    widths: tuple[int | None, int],
    classes: ClassMatch,
    random: np.random.Generator,
) -> dict[str, Array]:
    """By our names, for a network with a last convolution if ``tail`` has one.

    Args:
        last, low: which of the donor's each channel of the last stream and the fine map is; ``low`` is None
            where the fine map is another one.
        widths: of the last convolution, if any, and of the decoder's middle.
    """
    wide, middle = widths
    found: dict[str, Array] = {}
    is_read = last
    if tail.head is not None and tail.head_norm is not None and wide is not None:
        strength = length(np.concatenate([tail.high, tail.gate]), 0)
        is_read, found = head_tensors(tail.head, tail.head_norm, strength, last, wide, random)
    strength = np.abs(tail.high_norm.weight) * length(tail.classify, 0)
    middles = keep(by_parts(strength, 1), middle)
    rows = list(middles)
    matrices = {
        "high.conv": read(tail.high[rows], is_read, 1, random),
        "gate": read(tail.gate[rows], is_read, 1, random),
    }
    found["decoder.gate.bias"] = tail.gate_bias[rows]
    found |= norm_tensors("decoder.high.bn", tail.high_norm.of(middles))
    if classes.found:
        matrices["classify_high"] = read(class_rows(tail.classify, classes), middles, 1, random)
        found["decoder.classify_high.bias"] = class_rows(tail.classify_bias, classes)
        if low is not None:
            matrices["classify_low"] = read(class_rows(tail.low, classes), low, 1, random)
            found["decoder.classify_low.bias"] = class_rows(tail.low_bias, classes)
    return found | {f"decoder.{name}.weight": own[:, :, None, None] for name, own in matrices.items()}


def head_tensors(
    weight: Array, norm: Norm, strength: Array, last: tuple[int, ...], count: int, random: np.random.Generator
) -> tuple[tuple[int, ...], dict[str, Array]]:
    """Of the last convolution: which of the donor's channels its outputs are, and tensors by our names.

    Args:
        strength: how strongly each of the donor's is read.
    """
    chosen = keep(by_parts(np.abs(norm.weight) * strength, 1), count)
    kernel = read(weight[list(chosen)], last, 1, random)[:, :, None, None]
    return chosen, {"head.conv.weight": kernel, **norm_tensors("head.bn", norm.of(chosen))}


def class_rows(values: Array, classes: ClassMatch) -> Array:
    """A classifier's weights or biases, a row a class: those of the donor's class, or the mean of all."""
    mean = values.mean(0)
    return np.stack([mean if source is None else values[source] for source in classes.sources])
