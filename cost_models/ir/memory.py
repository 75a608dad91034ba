"""Memory that the values of a network take while it runs, from its description: no TVM, no device.

A value lives from the kernel that makes it to the last one that reads it. Inputs are the caller's and stay,
as do results. Weights are not counted, nor what a kernel keeps to itself: padding is packed a tile at a time
by the schedules here. Bytes are those of float32 maps unless another type is given.

Two numbers. What is alive at once: no order-keeping program does with less, and it is told block by block.
What TVM's plan sets aside: more, since a greedy rule fills its storages; 1.0 to 2.0 times the first in random
networks of SqueezeNAS's spaces at 256x512, 1.4, 1.4 and 1.1 in the median (Small, Large, XLarge).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cost_models.ir.fusion import Call, kernel_calls
from cost_models.ir.graph import Graph, element_bytes, fold_batch_norm
from cost_models.ir.ops import Shape

_MATCH = 16  # TVM does not put a value into a storage that many times larger


@dataclass(frozen=True, slots=True)
class Step:
    """A kernel in the run of a graph.

    Attributes:
        alive: bytes of all values alive while it runs, that which it makes included.
        made: the value that it makes.
        freed: values that nobody reads afterwards.
    """

    call: Call
    alive: int
    made: "Value"
    freed: tuple["Value", ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A map between kernels.

    Attributes:
        kept: it is an input of the graph or a result.
    """

    name: str
    bytes: int
    dtype: str
    kept: bool


def steps(graph: Graph, inputs: Mapping[str, Shape], dtype: str = "float32") -> Iterator[Step]:
    """The kernels of a graph in the order they run, with what lives meanwhile; maps are of ``dtype``."""
    folded = fold_batch_norm(graph).pinned(inputs)
    calls = kernel_calls(folded, inputs)
    ends = {*folded.inputs, *folded.outputs}
    values = {value.name: value for call in calls for value in _values(call, ends, dtype)}
    last = {name: index for index, call in enumerate(calls) for name in call.reads}
    alive = sum(values[name].bytes for name in folded.inputs if name in values)  # others give a size alone
    for index, call in enumerate(calls):
        made = values[call.nodes[-1]]
        alive += made.bytes
        freed = [values[name] for name in call.reads if last[name] == index and not values[name].kept]
        yield Step(call, alive, made, tuple(freed))
        alive -= sum(value.bytes for value in freed)


def peak_bytes(graph: Graph, inputs: Mapping[str, Shape], dtype: str = "float32") -> int:
    """The most bytes that are alive at once; 0 for a graph without operations."""
    return max((step.alive for step in steps(graph, inputs, dtype)), default=0)


@dataclass(eq=False)
class _Storage:
    bytes: int
    dtype: str


def planned_bytes(graph: Graph, inputs: Mapping[str, Shape], dtype: str = "float32") -> int:
    """What TVM's plan sets aside (its pass StaticPlanBlockMemory), with inputs and results beside it.

    A value gets the smallest free storage of its type that it fits into, or else the largest, which is
    enlarged; unless sizes are a factor of 16 apart. No kernel writes over what it reads.
    """
    storages: list[_Storage] = []
    free: list[_Storage] = []
    held: dict[str, _Storage] = {}
    ends = 0
    for step in steps(graph, inputs, dtype):
        made = step.made
        if not made.kept:
            storage = _best(free, made)
            if storage is None:
                storages.append(storage := _Storage(made.bytes, made.dtype))
            else:
                free.remove(storage)
                storage.bytes = max(storage.bytes, made.bytes)
            held[made.name] = storage
        free += [held.pop(value.name) for value in step.freed]
        ends = step.alive - sum(value.bytes for value in step.freed)  # at last, inputs and results alone
    return sum(storage.bytes for storage in storages) + ends


def _best(free: list[_Storage], value: Value) -> _Storage | None:
    alike = [
        storage
        for storage in free
        if storage.dtype == value.dtype and value.bytes // _MATCH <= storage.bytes <= value.bytes * _MATCH
    ]
    large = [storage for storage in alike if storage.bytes >= value.bytes]
    if large:
        return min(large, key=lambda storage: storage.bytes)
    return max(alike, key=lambda storage: storage.bytes, default=None)


def _values(call: Call, ends: set[str], dtype: str) -> Iterator[Value]:
    """What a kernel reads, and then what it makes."""
    kernel = call.kernel
    graph, shapes = kernel.graph, kernel.graph.shapes(kernel.input_shapes)
    for name, own in zip((*call.reads, call.nodes[-1]), (*graph.inputs, *graph.outputs), strict=True):
        kind = graph.dtype(own)
        yield Value(name, math.prod(shapes[own]) * element_bytes(kind, dtype), kind, name in ends)
