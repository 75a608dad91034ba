"""What a thread of a GPU keeps for itself is read by no other.

A buffer of scope ``local`` is each thread's own registers, but a schedule names its elements as if all
threads shared them. A thread that reads an element which another one wrote gets noise, without a word, as in
DLight's rule for reductions in grouped 1x1 convolutions of small maps. So it is computed which elements every
thread writes and reads, at some turns of the loops around. (What is read across a warp in scope ``warp`` TVM
makes shuffles of, if it keeps to their rules; no schedule here needs that, and it is refused too.)
"""

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cost_models.errors import LoweringError
from cost_models.schedules.index_values import UnknownValue, Values, values, variables
from cost_models.schedules.own_accesses import THREAD, Access, Accesses, Loop, launch_of
from cost_models.tvm_import import tvm

_TURNS = 5  # of the loops around: the first, the last and some others
_MOST_VALUES = 1 << 18  # of one index; turns and then threads are left out where there were more

Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Points:
    """Threads, at turns of the loops around a buffer.

    Attributes:
        shared: the loops around all accesses to it: each turn has a buffer of its own.
        turns: values of those of them that are no threads.
        threads: numbers of the threads, by dimension (``threadIdx.x``).
    """

    count: int
    shared: tuple[Loop, ...]
    turns: dict[Loop, Numbers]
    threads: dict[str, Numbers]


def require_own_registers(mod: Any, target: Any, name: str) -> None:
    """Refuse a kernel for a GPU whose threads read what other threads keep for themselves.

    An index that is loaded from memory may be whatever its expression allows: all of that must be right.

    Args:
        mod: IRModule with one scheduled PrimFunc ``main``, not lowered.

    Raises:
        LoweringError: it does, or it cannot be told.
    """
    if target.kind.name != "cuda":
        return
    accesses = Accesses.of(mod["main"])
    for buffer in accesses.own:
        concerned = [access for access in accesses.found if access.buffer.same_as(buffer)]
        try:
            fault = _fault(buffer, concerned, accesses.threads)
        except UnknownValue as unknown:
            fault = f"may read more of {buffer.name} than the same thread wrote: {unknown} is not known"
        if fault:
            raise LoweringError(f"{name}: no right schedule for a GPU: it {fault}")


def _fault(
    buffer: Any, accesses: Sequence[Access], threads: Mapping[Loop | None, Mapping[str, int]]
) -> str | None:
    """What is wrong with the accesses to one buffer."""
    reads = [access for access in accesses if not access.writes]
    if not reads:
        return None
    launches = {launch_of(access.loops) for access in accesses}
    if len(launches) > 1:
        return f"reads {buffer.name}, of scope {buffer.scope()}, in another launch than the one that wrote it"
    points = _points(accesses, threads.get(launches.pop(), {}))
    shape = [int(side) for side in buffer.shape]
    written = [(access.statement, _elements(access, points, shape)) for access in accesses if access.writes]
    for access in reads:
        # A statement that adds to an element has not written its first value.
        others = [elements for statement, elements in written if statement != access.statement]
        found = _elements(access, points, shape)
        missing = found[np.isin(found, np.concatenate([np.empty(0, np.int64), *others]), invert=True)]
        if missing.size:
            place = _place(buffer, shape, points, int(missing[0]))
            return (
                f"reads {place} in {access.block}, which that thread has not written; "
                f"scope {buffer.scope()} is each thread's own"
            )
    return None


def _place(buffer: Any, shape: Sequence[int], points: _Points, number: int) -> str:
    """An element, and who reads it."""
    point, element = divmod(number, math.prod(shape))
    indices = ", ".join(str(int(i)) for i in np.unravel_index(element, shape))
    thread = ", ".join(f"{name} {numbers[point]}" for name, numbers in points.threads.items())
    return f"{buffer.name}[{indices}] by {thread}"


def _points(accesses: Sequence[Access], threads: Mapping[str, int]) -> _Points:
    shared = _shared([access.loops for access in accesses])
    inner = max(math.prod(_sides(access, shared)) for access in accesses)
    most = _MOST_VALUES // inner
    if most == 0:
        raise UnknownValue(f"what happens in {inner} iterations of one thread")
    around = [loop for loop in shared if not loop.thread.startswith(THREAD)]
    everybody = math.prod(threads.values())
    turns = _turns([_constant(loop.extent) for loop in around])[:, : max(1, most // everybody)]
    chosen = np.unique(np.linspace(0, everybody - 1, min(everybody, most), dtype=np.int64))
    count = turns.shape[1] * len(chosen)
    numbers = np.unravel_index(np.tile(chosen, turns.shape[1]), tuple(threads.values())) if threads else ()
    return _Points(
        count=count,
        shared=shared,
        turns={loop: np.repeat(row, len(chosen)) for loop, row in zip(around, turns, strict=True)},
        threads=dict(zip(threads, numbers, strict=True)),
    )


def _shared(nests: Sequence[tuple[Loop, ...]]) -> tuple[Loop, ...]:
    """The loops that all of them begin with."""
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*nests, strict=False))
    return tuple(level[0] for level in levels)


def _turns(extents: Sequence[int]) -> Numbers:
    """Turns of nested loops, one a column: all of them, or the first, the last and some others."""
    if math.prod(extents) <= _TURNS:
        return np.indices(extents, dtype=np.int64).reshape(len(extents), -1)
    last = np.array(extents, dtype=np.int64) - 1
    others = np.random.default_rng(0).integers(0, last + 1, (_TURNS - 2, len(extents)))
    return np.stack([last * 0, last, *others], axis=1)


def _constant(extent: Any) -> int:
    if type(extent) is not int and type(extent) is not tvm.tirx.IntImm:
        raise UnknownValue(f"the extent {extent}")
    return int(extent)


def _inner(access: Access, shared: Sequence[Loop]) -> list[Loop]:
    """Loops within the shared ones on which the place or the time of an access depends, but for threads."""
    needed = {var for expr in (*access.indices, *access.guards) for var in variables(expr)}
    for var, value in reversed(access.bindings):
        if var in needed:
            needed.update(variables(value))
    loops = access.loops[len(shared) :]
    return [loop for loop in loops if loop.var in needed and not loop.thread.startswith(THREAD)]


def _sides(access: Access, shared: Sequence[Loop]) -> list[int]:
    return [_constant(loop.extent) for loop in _inner(access, shared)]


def _elements(access: Access, points: _Points, shape: Sequence[int]) -> Numbers:
    """Numbers of the elements that an access touches, all over again for each point."""
    inner = _inner(access, points.shared)
    axes = 1 + len(inner) + len(shape)  # points, loops, the sides of a box
    known = dict(_known(access, points, inner, axes))
    happens = np.ones((1,) * axes, bool)
    for guard in access.guards:
        with contextlib.suppress(UnknownValue):  # then it may happen
            happens = happens & values(guard, known)
    number: Values = np.zeros((1,) * axes, np.int64)
    for i, (index, extent, side) in enumerate(zip(access.indices, access.extents, shape, strict=True)):
        try:
            first, last = values(index, known), _constant(extent) - 1
        except UnknownValue:
            if access.writes:
                return np.empty(0, np.int64)  # whichever it writes, a thread may ask for another
            first, last = _bounds(index, side)
        number = number * side + first + _along(np.arange(last + 1), axes - len(shape) + i, axes)
    number = number + _along(np.arange(points.count), 0, axes) * math.prod(shape)
    number, happens = np.broadcast_arrays(number, happens)
    return np.unique(number[happens])


def _known(access: Access, points: _Points, inner: Sequence[Loop], axes: int) -> dict[Any, Values]:
    """Values of the loops' and blocks' variables around an access."""
    known: dict[Any, Values] = {}
    for loop in access.loops:
        if loop.thread.startswith(THREAD):
            numbers = _along(points.threads[loop.thread], 0, axes)
        elif loop in points.turns:
            numbers = _along(points.turns[loop], 0, axes)
        elif loop in inner:
            numbers = _along(np.arange(_constant(loop.extent)), 1 + inner.index(loop), axes)
        else:
            continue
        with contextlib.suppress(UnknownValue):
            known[loop.var] = numbers + values(loop.first, known)
    for var, value in access.bindings:
        with contextlib.suppress(UnknownValue):  # of no concern, or whoever needs it says so
            known[var] = values(value, known)
    return known


def _bounds(index: Any, side: int) -> tuple[Values, int]:
    """All that an index may be which loops alone do not tell: the least, and how much more the most is."""
    bound = tvm.sym.Analyzer().const_int_bound(index)
    least = min(max(int(bound.min_value), 0), side - 1)
    return np.asarray(least), max(min(int(bound.max_value), side - 1) - least, 0)


def _along(numbers: Values, axis: int, axes: int) -> Values:
    """Numbers as an array of so many axes, along one of them."""
    return numbers.reshape([-1 if i == axis else 1 for i in range(axes)])
