"""A donor's weights, block by block and stream by stream."""

from collections.abc import Mapping

import numpy as np

from search.architecture import Architecture
from search.remapping.blocks import Residual, norm_of, of_skip, parsed, rectified, skip_weight
from search.remapping.streams import stream_of, streams_of
from search.remapping.tensors import Array, Norm, length
from search.spaces.chain import ChainSpace

# What of a decoder reads the encoder's coarse and fine map, each a 1x1 convolution without groups.
_HIGH = ("decoder.high.conv.weight", "decoder.gate.weight")
_LOW = ("decoder.classify_low.weight", "decoder.detail.weight")


class DonorWeights:
    """Of a chain.

    Args:
        tensors: all of its network, by our names.
    """

    def __init__(self, donor: Architecture, tensors: Mapping[str, Array]) -> None:
        space = donor.search_space
        assert isinstance(space, ChainSpace)
        self.space, self.tensors = space, tensors
        self.blocks = space.short_form(donor.genotype)
        self.streams = streams_of(space)

    def block(self, index: int) -> dict[str, Array]:
        """Tensors of a position by their names in the block's graph."""
        prefix = f"blocks.{index}."
        return {
            name.removeprefix(prefix): values
            for name, values in self.tensors.items()
            if name.startswith(prefix)
        }

    def residual(self, index: int) -> Residual:
        """A position's block; of the skip that projects as such a block."""
        block = parsed(self.blocks[index])
        if block is not None:
            return Residual.of(block, self.block(index))
        return of_skip(self.block(index), *self.statistics(stream_of(self.streams, index) - 1))

    def statistics(self, stream: int) -> tuple[Array, Array]:
        """Mean and variance of a stream's channels at its end, as if what is added were independent."""
        own = self.streams[stream]
        if own.entry is None:
            stem = norm_of(self.tensors, "stem.bn")
            mean, variance = rectified(stem.bias, stem.weight**2)
        else:
            norm = self._last_norm(own.entry)
            mean, variance = norm.bias, norm.weight**2
        for index in self._adding(stream):
            norm = self._last_norm(index)
            mean, variance = mean + norm.bias, variance + norm.weight**2
        return mean, variance

    def importance(self, stream: int) -> Array:
        """Of each channel of a stream: what normalisations scale it by, times how strongly it is read."""
        _, variance = self.statistics(stream)
        read = [self.residual(index).expand for index in self._adding(stream)]
        if stream + 1 < len(self.streams):
            entry = self.streams[stream + 1].entry
            assert entry is not None
            block = self.block(entry)
            is_skip = parsed(self.blocks[entry]) is None
            read.append(skip_weight(block)[0] if is_skip else self.residual(entry).expand)
        else:
            names = ("head.conv.weight",) if self.space.head else _HIGH
            read += [self.tensors[name][:, :, 0, 0] for name in names if name in self.tensors]
        if stream_of(self.streams, self.space.tap) == stream:
            read += [self.tensors[name][:, :, 0, 0] for name in _LOW if name in self.tensors]
        found: Array = np.sqrt(variance)
        return found * length(np.concatenate(read), 0) if read else found

    def _adding(self, stream: int) -> list[int]:
        """Positions whose blocks add something to it."""
        return [index for index in self.streams[stream].residuals if parsed(self.blocks[index]) is not None]

    def _last_norm(self, index: int) -> Norm:
        block = self.block(index)
        if parsed(self.blocks[index]) is None:
            return skip_weight(block)[1]
        return norm_of(block, "project.bn")
