"""A plan carried out: tensors of a donor as those of a network, or of a supernet."""

import re
from collections.abc import Mapping
from math import lcm

import numpy as np

from search.remapping.blocks import (
    Ends,
    closed,
    fitted,
    multiplied,
    norm_of,
    norm_tensors,
    parsed,
    passing,
    skip_tensors,
    skip_weight,
)
from search.remapping.decoder import Tail, class_rows, head_tensors, tail_tensors
from search.remapping.donor_weights import DonorWeights
from search.remapping.plan import BlockPlan, Plan
from search.remapping.streams import stream_of, streams_of
from search.remapping.tensors import Array, by_parts, keep, parts_of
from search.spaces.chain import ChainSpace

_ENDS = re.compile(r"^(stem|head)\.")
_SKIPS = 2  # equal parts that the skip of stride 2 makes its outputs of


def remap(plan: Plan, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors of the network by our names, without those that are to stay as they were made.

    The same in every process: shares of copies are drawn from a seed of their own.

    Args:
        tensors: all of the donor's, by our names.

    Returns:
        Of a supernet by the names of its state dict (``blocks.3.k3e6.expand.conv.weight``).
    """
    return _Remapping(plan, tensors).tensors()


class _Remapping:
    def __init__(self, plan: Plan, tensors: Mapping[str, Array]) -> None:
        self._plan, self._space = plan, plan.space
        self._donor = DonorWeights(plan.donor, tensors)
        self._streams = streams_of(plan.space)
        parts = _parts(plan.donor_space, plan.space)
        self._channels = [
            self._chosen(stream.channels, there, parts)
            for stream, there in zip(self._streams, plan.streams, strict=True)
        ]

    def _chosen(self, count: int, there: int, parts: int) -> tuple[int, ...]:
        """Which of the donor's channels those of a stream are."""
        importance = self._donor.importance(there)
        return keep(by_parts(importance, parts_of((len(importance), count), parts)), count)

    def tensors(self) -> dict[str, Array]:
        """All that there are."""
        found = self._stem() | self._tail()
        if self._plan.supernet:  # where stem and head are modules with modules of their names
            found = {_ENDS.sub(r"\1.\1.", name): values for name, values in found.items()}
        for number, block in enumerate(self._plan.blocks):
            own = f"{block.index}.{block.block}" if self._plan.supernet else str(block.index)
            random = np.random.default_rng([1, number])
            found |= {f"blocks.{own}.{name}": values for name, values in self._block(block, random).items()}
        return {name: np.ascontiguousarray(values, np.float32) for name, values in found.items()}

    def _stem(self) -> dict[str, Array]:
        if not self._plan.stem:
            return {}
        tensors, sources = self._donor.tensors, self._channels[0]
        kernel = tensors["stem.conv.weight"][list(sources)]
        norm = norm_of(tensors, "stem.bn").of(sources)
        return {"stem.conv.weight": kernel, **norm_tensors("stem.bn", norm)}

    def _block(self, plan: BlockPlan, random: np.random.Generator) -> Mapping[str, Array]:
        """By names in the block's graph."""
        stream = stream_of(self._streams, plan.index)
        is_entry = self._streams[stream].entry == plan.index
        before = self._channels[stream - is_entry]
        ends, block = Ends(before, self._channels[stream]), parsed(plan.block)
        if plan.how in ("skip", "new"):
            return {}
        if plan.how == "passing":
            old = passing(*self._donor.statistics(self._plan.streams[stream]))
        elif plan.source is None:  # closed, and no other block of the stage
            nothing = np.zeros(self._streams[stream].channels, np.float32)
            return {"project.bn.weight": nothing, "project.bn.bias": nothing}
        elif block is None and parsed(plan.of or "") is None:
            weight, norm = skip_weight(self._donor.block(plan.source))
            return skip_tensors(weight, norm, ends, self._space.positions[plan.index].stride, random)
        else:
            old = self._donor.residual(plan.source)
        if block is None:
            stride = self._space.positions[plan.index].stride
            return skip_tensors(*multiplied(old), ends, stride, random)
        new = fitted(old, block, ends, random)
        return (closed(new) if plan.how == "closed" else new).tensors(block.groups)

    def _tail(self) -> dict[str, Array]:
        plan, tensors = self._plan, self._donor.tensors
        if not plan.decoder:
            return self._head_alone() if plan.head else {}
        if self._space.decoder != "lraspp":
            return _as_it_is(tensors, plan)
        tail, head = Tail.of(tensors), self._space.head
        if head is not None and tail.head is None:
            tail = tail.with_head(*self._donor.statistics(len(self._donor.streams) - 1))
        elif head is None and tail.head is not None:
            tail = tail.without_head()
        low = self._channels[stream_of(self._streams, self._space.tap)] if plan.low else None
        widths = (head, self._space.mid_channels)
        random = np.random.default_rng([2])
        return tail_tensors(tail, self._channels[-1], low, widths, plan.classes, random)

    def _head_alone(self) -> dict[str, Array]:
        tensors, count = self._donor.tensors, self._space.head
        assert count is not None
        weight, norm = tensors["head.conv.weight"][:, :, 0, 0], norm_of(tensors, "head.bn")
        alike, random = np.ones(len(weight), np.float32), np.random.default_rng([2])
        return head_tensors(weight, norm, alike, self._channels[-1], count, random)[1]


def _as_it_is(tensors: Mapping[str, Array], plan: Plan) -> dict[str, Array]:
    """Decoder and last convolution of the same kind and size, but for the classes."""
    found = {name: values for name, values in tensors.items() if name.startswith(("decoder.", "head."))}
    last = {name for name in found if name.startswith("decoder.classify.")}
    for name in last:
        if plan.classes.found:
            found[name] = class_rows(found[name], plan.classes)
        else:
            del found[name]
    return found


def _parts(*spaces: ChainSpace) -> int:
    """Of what size channels have to stay in their part: groups of convolutions, halves of skips."""
    names = {name for space in spaces for position in space.positions for name in position.candidates}
    return lcm(_SKIPS, *(block.groups for block in map(parsed, names) if block))
