"""A schedule found for one kernel, on another kernel of the same form.

Sizes are rounded to what the new extents allow; everything else stays: the order of loops, where blocks are
computed, what is unrolled. Schedule primitives never change what a kernel computes, so that whatever fits is
right; whether it is fast there is for the device to say.
"""

import functools
import itertools
import json
import logging
import math
import operator
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cost_models.database.records import Trial
from cost_models.lowering.pipeline import structural_hash
from cost_models.schedules.conv_template import Conv, Tile
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import (
    Proposal,
    apply_tile,
    replay_trace,
    tile_of,
    tile_text,
    trace_text,
)
from cost_models.schedules.tiles import AnyTile, all_tiles, features, tiled_conv
from cost_models.schedules.trace_text import read_trace
from cost_models.tvm_import import ms, tvm
from targets.support.text import brief

_log = logging.getLogger(__name__)


def adapt(mod: Any, tvm_target: Any, text: str) -> Proposal | None:
    """Another kernel's schedule on this one; ``None`` where it does not fit or the target's limits forbid it.

    Args:
        mod: IRModule with the one function ``main``, not scheduled.
        text: of the schedule, in either form.

    Raises:
        CostModelError: this is not the text of a schedule.
    """
    tile = tile_of(text)
    try:
        if tile is None:
            return _adapted_trace(mod, tvm_target, text)
        conv = tiled_conv(mod, tvm_target)
        fitted = fit_tile(conv, tile) if isinstance(tile, Tile) else nearest_tile(conv, tvm_target, tile)
        return Proposal(
            schedule=tile_text(fitted), mod=apply_tile(mod, tvm_target, fitted), origin="transfer"
        )
    except Exception as error:  # TVM raises many types
        _log.debug("%s does not fit: %s", text[:80], brief(error))
        return None


class Adapted:
    """Other kernels' schedules as a source of candidates for one kernel, in the order given.

    What this kernel's default schedule equals is left out: that is timed anyway.

    Args:
        mod: IRModule with the one function ``main``, not scheduled.
        schedules: texts of schedules of other kernels, the most promising first.
        known: texts of schedules that have been tried on this kernel.

    Attributes:
        sampling_s: time spent on adapting. evolution_s: none.
    """

    def __init__(
        self, mod: Any, tvm_target: Any, schedules: Iterable[str], known: Container[str] = ()
    ) -> None:
        self._mod, self._target, self._known = mod, tvm_target, known
        self._schedules = iter(schedules)
        self._seen = {structural_hash(schedule_default(mod, tvm_target))}
        self.sampling_s = self.evolution_s = 0.0

    def propose(self, at_most: int) -> list[Proposal]:
        """The next schedules that fit, no two alike; fewer than ``at_most`` only when there are no more."""
        started = time.perf_counter()
        found: list[Proposal] = []
        while len(found) < at_most and (text := next(self._schedules, None)) is not None:
            proposal = adapt(self._mod, self._target, text)
            if proposal is None or proposal.schedule in self._known:
                continue
            key = structural_hash(proposal.mod)
            if key not in self._seen:
                self._seen.add(key)
                found.append(proposal)
        self.sampling_s += time.perf_counter() - started
        return found

    def learn(self, proposals: Sequence[Proposal], trials: Sequence[Trial]) -> None:
        """Nothing: what is left to propose does not depend on it."""


def fit_tile(conv: Conv, tile: Tile) -> Tile:
    """The tile with the nearest sizes that fit ``conv`` and take no more registers.

    Rows and columns divide it; channels do, or are the tile's own where no groups stop a last one too few.
    """
    filters, height, width = conv.out_shape
    channels_of = set(_divisors(filters // conv.groups))
    if conv.groups == 1 and tile.channels < filters:
        channels_of.add(tile.channels)
    lanes = min(tile.lanes, 1 << (width - 1).bit_length())
    needed = math.ceil(width / lanes)  # vectors of a row
    registers = (tile.channels + 1) * tile.rows * tile.vectors

    def cost(sizes: tuple[int, int, int]) -> float:
        """Distance, and twice that for columns and filters that are computed in vain."""
        wanted = (tile.channels, tile.rows, tile.vectors)
        padded = math.ceil(needed / sizes[2]) * sizes[2] / needed
        padded *= math.ceil(filters / sizes[0]) * sizes[0] / filters if conv.groups == 1 else 1
        return sum(map(_ratio, sizes, wanted)) + 2 * math.log2(padded)

    channels, rows, vectors = min(
        (
            (c, r, v)
            for c, r, v in itertools.product(
                sorted(channels_of), _divisors(height), range(1, min(needed, registers) + 1)
            )
            if (c + 1) * r * v <= registers
        ),
        key=cost,
    )
    tiles_x = math.ceil(needed / vectors)
    ragged = conv.ragged(vectors * lanes)
    return replace(
        tile,
        channels=channels,
        rows=rows,
        vectors=vectors,
        lanes=lanes,
        down=_nearest(_divisors(height // rows), tile.down),
        across=tiles_x if ragged else _nearest(_divisors(tiles_x), tile.across),
        filters_first=tile.filters_first and not conv.depthwise,
        direct=tile.direct and conv.readable_directly(vectors * lanes),
    )


def nearest_tile(conv: Conv, tvm_target: Any, tile: AnyTile) -> AnyTile:
    """The tile of the same form nearest to another among those worth a trial; of equals the better one.

    Raises:
        ValueError: there is none of that form.
    """
    place = features(tile)

    def distance(pair: tuple[AnyTile, float]) -> tuple[float, float]:
        return math.dist(place, features(pair[0])), pair[1]

    return min((p for p in all_tiles(conv, tvm_target) if type(p[0]) is type(tile)), key=distance)[0]


def _adapted_trace(mod: Any, tvm_target: Any, text: str) -> Proposal | None:
    instructions, decisions = read_trace(text)
    names = [name for name, *_ in instructions]
    end = names.index("EnterPostproc") if "EnterPostproc" in names else len(names)
    given = {index: decision for index, decision in decisions if index < end}
    searched = json.dumps([instructions[:end], list(given.items())])
    trace = replay_trace(mod, searched).trace  # TVM takes the factors that divide, which is not yet good
    rules = _postprocessors(mod, tvm_target)
    owed: dict[int, list[float]] = {}
    attempts = [(owed, True), (owed, True), ({}, False)]  # the second begins with what the first still owed
    for owes, larger in attempts:
        schedule = tvm.s_tir.Schedule(mod)
        trace.apply_to_schedule(schedule, False, _rounding(schedule, given, owes, larger))
        if all(rule.apply(schedule) for rule in rules):
            return Proposal(schedule=trace_text(schedule), mod=schedule.mod, origin="transfer")
    return None


def _rounding(
    schedule: Any, given: Mapping[int, Any], owed: dict[int, list[float]], larger: bool
) -> Callable[[Any, Any, Any, Any], Any]:
    """Gives each instruction of a trace, in order, its decision: tile sizes are rounded, all else stays.

    What rounding one loop took from a level of tiles, or gave to it, the next loops make up for, so that a
    level as a whole keeps its size: the threads of a GPU's block, the registers of a CPU's innermost tile.

    Args:
        given: the old decisions, by number of the instruction.
        owed: number of levels, which tells loops of results from loops of sums -> of each level, wanted size
            by size so far. Kept up to date.
        larger: whether a level may become larger than it was.
    """
    steps = itertools.count()

    def decide(instruction: Any, inputs: Any, attrs: Any, decision: Any) -> Any:
        step = next(steps)
        if instruction.kind.name != "SamplePerfectTile":
            return given.get(step, decision)  # TVM takes a near one where it is not allowed here
        old = given[step]
        wanted = tuple(map(operator.mul, old, owed.get(len(old), [1.0] * len(old))))
        new = fit_factors(wanted, int(schedule.get(inputs[0]).extent), int(attrs[1]), larger=larger)
        owed[len(old)] = list(map(operator.truediv, wanted, new))
        return new

    return decide


def fit_factors(
    wanted: tuple[float, ...], extent: int, innermost: int, *, larger: bool = True
) -> tuple[int, ...]:
    """Factors of ``extent`` nearest to others; the first, for the outermost loop, is what is left.

    Args:
        innermost: limit of the last one.
        larger: whether any but the first may be larger than wanted.
    """

    @functools.cache
    def best(left: int, level: int) -> tuple[float, tuple[int, ...]]:
        if level == 0:
            return 0.0, (left,)
        last = level == len(wanted) - 1
        options = []
        for factor in _divisors(left):
            if factor == 1 or ((not last or factor <= innermost) and (larger or factor <= wanted[level])):
                cost, outer = best(left // factor, level - 1)
                options.append((cost + _ratio(factor, wanted[level]), (*outer, factor)))
        return min(options)

    return best(extent, len(wanted) - 1)[1]


def _postprocessors(mod: Any, tvm_target: Any) -> Sequence[Any]:
    """What MetaSchedule does to every candidate of this kind of target: bind, vectorise, unroll, verify."""
    kind = tvm_target.kind.name if tvm_target.kind.name in ("llvm", "cuda") else "from-target"
    space = ms.space_generator.PostOrderApply(sch_rules=kind, postprocs=kind, mutator_probs=kind)
    context = ms.TuneContext(mod, target=tvm_target, space_generator=space, num_threads=1)
    return list(context.space_generator.postprocs)


def _ratio(a: float, b: float) -> float:
    return abs(math.log2(a / b))


def _nearest(allowed: Sequence[int], wanted: int) -> int:
    return min(allowed, key=lambda value: _ratio(value, wanted))


def _divisors(n: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})
