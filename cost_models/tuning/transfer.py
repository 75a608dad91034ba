"""Which kernels are searched, and which get the schedules of others instead.

The kernels of a space are near-copies of one another. A few of them, the anchors, are searched; their best
schedules are adapted to the others and a few of those are measured there. Where that turns out poor, what is
left of the budget goes into searches of their own. Needs no TVM; ``adaptation`` does the work on schedules.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cost_models.database.records import Trial
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.roofline import PhysicalModel, lost_s
from cost_models.tuning.effort import Effort

_FAR = 100.0  # more than any two kernels' distance
_FEW = 2  # a family with no more members need not have an anchor of its own
_DONORS = 3  # of a kernel; the schedules of one donor resemble each other
_NEARLY = 1.5  # times the latency of a donor's best schedule: what is slower is not lent
_SHORTER = 0.8  # of a whole search; the best of 24 of 64 trials is 2.5 % off the best (24 kernels, mean)
_MEMORY_SHARE = 4  # kernels that only move data have a handful of schedules: this part of the trials will do


def family(kernel: Kernel) -> str:
    """Operations of a kernel with window, stride, dilation and groups, without sizes.

    Design spaces of one family have the same form: the same blocks, loops and decisions.
    """
    return kernel.family


def choose_anchors(kernels: Sequence[Kernel], share: float) -> list[Kernel]:
    """Kernels to be searched, in the order given: spread over families, and over sizes within them.

    At least one for each family of more than two members and for each that no other can lend to; then, one
    by one, the kernel that brings the others of its family nearest to an anchor, all taken together (greedy
    k-median: k-center would begin with outliers, whose schedules fit nobody). Deterministic.

    Args:
        share: of the kernels, above 0 and at most 1; exceeded where the families are too many.
    """
    homes = _homes(kernels)
    groups: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        groups.setdefault(homes[family(kernel)], []).append(kernel)
    gap = dict.fromkeys(kernels, _FAR)  # distance of each to the nearest anchor of its group
    chosen: list[Kernel] = []

    def gain(home: str, candidate: Kernel) -> float:
        return sum(max(0.0, gap[k] - _distance(k, candidate)) for k in groups[home])

    def choose(candidates: Iterable[tuple[str, Kernel]]) -> None:
        home, best = max(candidates, key=lambda c: (gain(*c), c[1].key))
        chosen.append(best)
        gap.update({k: min(gap[k], _distance(k, best)) for k in groups[home]})

    for home, group in groups.items():
        choose((home, k) for k in group if family(k) == home)
    while len(chosen) < min(math.ceil(share * len(kernels)), len(kernels)):
        choose((home, k) for home, group in groups.items() for k in group if k not in chosen)
    return [kernel for kernel in kernels if kernel in chosen]


def donors(kernel: Kernel, anchors: Sequence[Kernel]) -> list[Kernel]:
    """Anchors whose schedules may fit a kernel: its own family first, the nearest in size first.

    Other families of its kind follow, those with the same convolution before others: a tile of the
    convolution template fits whatever comes after it. Kernels without a convolution share nothing with
    other families.
    """
    related = [a for a in anchors if a.kind == kernel.kind]
    if kernel.kind == "memory":
        related = [a for a in related if family(a) == family(kernel)]

    def rank(anchor: Kernel) -> tuple[bool, bool, float, str]:
        ours, theirs = family(kernel), family(anchor)
        other_conv = ours.partition("+")[0] != theirs.partition("+")[0]
        return ours != theirs, other_conv, _distance(anchor, kernel), anchor.key

    return sorted(related, key=rank)


def lent(lenders: Sequence[Sequence[Trial]]) -> list[str]:
    """Schedules of donors that are worth trying on another kernel, in that order.

    Of each donor those that are nearly as fast as its best; the fastest of either text form before the second
    of any, because one form may not fit; the best of every donor before the second of any.

    Args:
        lenders: trials of each donor, the nearest donor first.
    """
    rows = itertools.zip_longest(*map(_worth_lending, lenders))
    return list(dict.fromkeys(trial.schedule for row in rows for trial in row if trial is not None))


def _worth_lending(trials: Sequence[Trial]) -> list[Trial]:
    best_s = min((trial.median_s for trial in trials), default=math.inf)
    rank = {"[": 0, "{": 0}
    ranked = []
    for trial in sorted((t for t in trials if t.error is None), key=lambda t: t.median_s):
        if trial.median_s <= _NEARLY * best_s:
            form = trial.schedule[0]
            ranked.append((rank[form], trial))
            rank[form] += 1
    return [trial for _, trial in sorted(ranked, key=lambda r: (r[0], r[1].median_s))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Trials of a profile, before anything is measured.

    Attributes:
        anchors: kernels that are searched -> trials of each.
        neighbours: the other kernels -> those that lend to them, nearest first.
        transfers: adapted schedules that are tried on each neighbour.
        total: trials that may be spent in all, the reserve included.
    """

    anchors: Mapping[Kernel, int]
    neighbours: Mapping[Kernel, tuple[Kernel, ...]]
    transfers: int
    total: int

    @property
    def reserve(self) -> int:
        """Trials left for searches where transfers are poor."""
        return self.total - sum(self.anchors.values()) - self.transfers * len(self.neighbours)


def plan(kernels: Sequence[Kernel], effort: Effort) -> Plan:
    """Share out the trials of an effort. Where they do not suffice, all anchors are cut to the same number.

    Args:
        kernels: distinct ones.
    """
    total = effort.total(len(kernels))
    anchors = choose_anchors(kernels, effort.anchors) if effort.transfers else list(kernels)
    wanted = {anchor: _trials(anchor, effort) for anchor in anchors}
    for_anchors = total - effort.transfers * (len(kernels) - len(anchors))
    cap = effort.trials
    while cap and sum(min(cap, trials) for trials in wanted.values()) > for_anchors:
        cap -= 1
    return Plan(
        anchors={anchor: min(cap, trials) for anchor, trials in wanted.items()},
        neighbours={k: tuple(donors(k, anchors)[:_DONORS]) for k in kernels if k not in wanted},
        transfers=effort.transfers,
        total=total,
    )


def fallbacks(
    plan: Plan, effort: Effort, seconds: Mapping[Kernel, float], model: PhysicalModel, trials_left: int
) -> dict[Kernel, int]:
    """Neighbours that deserve a search of their own -> its new trials, in the order to do them.

    A shorter one than an anchor's: what is best there is tried early, and nobody borrows the rest. Those that
    lose the most time first, weighted by how poor they are; the last may get less. The transfers tried before
    count as the first trials of the search.

    Args:
        seconds: lowest latency so far; a kernel that is missing or infinite has no working schedule.
        trials_left: of the budget.
    """
    losses = {kernel: _loss(kernel, lenders, seconds, model) for kernel, lenders in plan.neighbours.items()}
    found: dict[Kernel, int] = {}
    for kernel in sorted((k for k in losses if losses[k] > 0), key=lambda k: (-losses[k], k.key)):
        trials = min(math.ceil(_SHORTER * _trials(kernel, effort)) - plan.transfers, trials_left)
        if trials > 0:
            found[kernel] = trials
            trials_left -= trials
    return found


def _loss(
    kernel: Kernel, lenders: Sequence[Kernel], seconds: Mapping[Kernel, float], model: PhysicalModel
) -> float:
    """Seconds lost, times the slow-down; 0 where it is not poor."""
    own_s = seconds.get(kernel, math.inf)
    donor = next((lender for lender in lenders if math.isfinite(seconds.get(lender, math.inf))), None)
    if donor is None or math.isinf(own_s):
        return math.inf if math.isinf(own_s) else 0.0
    wasted_s = lost_s(kernel, own_s, donor, seconds[donor], model)
    return wasted_s * own_s / (own_s - wasted_s)


def _trials(kernel: Kernel, effort: Effort) -> int:
    """Of a whole search."""
    if kernel.kind == "memory" and effort.transfers:
        return math.ceil(effort.trials / _MEMORY_SHARE)
    return effort.trials


def _homes(kernels: Sequence[Kernel]) -> dict[str, str]:
    """Family -> the one whose anchors serve it: itself or, if it is small, the largest of the same kind."""
    members = Counter(map(family, kernels))
    kinds = {family(kernel): kernel.kind for kernel in kernels}
    homes = {}
    for name, kind in kinds.items():
        related = [name] if kind == "memory" else [other for other in kinds if kinds[other] == kind]
        small = members[name] <= _FEW
        homes[name] = max(related, key=lambda other: (members[other], other)) if small else name
    return homes


def _distance(a: Kernel, b: Kernel) -> float:
    """Between sizes; 1 where channels in or out, or pixels, differ by a factor of two."""
    return math.dist(_size(a), _size(b))


def _size(kernel: Kernel) -> tuple[float, ...]:
    out = kernel.output_shape
    return tuple(map(math.log2, (kernel.inputs[0][1], out[1], math.prod(out[2:]))))
