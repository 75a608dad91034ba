"""How good predictions are on kernels that were left out: at random, and all of a sort at once.

A random hold-out leaves near-copies of every kernel in the fit, and flatters. The hard ones leave out every
kernel of a resolution, of a channel count, or of a window and dilation.

Unseen resolution: where several input resolutions were profiled, all kernels that only one of them has are
left out, as if it had never been profiled. Every layer is then new at that size, where a map size left out
would leave each layer's kernels of the sizes next to it. Kernels of a single resolution, or of nobody knows
which, allow no more than that, so there it is every size of map.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cost_models.estimate import Estimate
from cost_models.ir.fusion import Kernel
from cost_models.ir.ops import Conv2d
from cost_models.kernel_models.accuracy import Errors

SPLITS = ("random", "resolution", "channels", "window")
LEAST_KEPT = 10
_FIFTHS = 5

Predict = Callable[[Sequence[Kernel]], Sequence[Estimate]]
Fit = Callable[[Sequence[Kernel], Sequence[float]], Predict]
Watch = Callable[[int, int, str], None]  # fits done, of how many, what is left out next


@dataclass(frozen=True, slots=True)
class HoldOut:
    """One way of leaving out.

    Attributes:
        groups: what was left out, one after the other, the rest being fitted; ``64x128``, for example.
        possible: how many groups there are; the others were not tried.
        overall: errors of everything that was left out.
        by_kind: the same for each ``Kernel.kind``.
    """

    groups: tuple[str, ...]
    possible: int
    overall: Errors
    by_kind: Mapping[str, Errors]


class _Group(NamedTuple):
    name: str
    rows: list[int]


def hold_outs(
    kernels: Sequence[Kernel],
    seconds: Sequence[float],
    fit: Fit,
    *,
    splits: Sequence[str] = SPLITS,
    resolutions: Sequence[Collection[str]] = (),
    among: Collection[Kernel] | None = None,
    seed: int = 0,
    most: int | None = None,
    watch: Watch = lambda done, total, text: None,
) -> dict[str, HoldOut]:
    """Leave out and predict, in each of several ways.

    Groups that leave fewer than 10 kernels to fit to are not tried; a split without any other is left out.

    Args:
        seconds: measured latency of each kernel.
        fit: makes, from the kernels that are kept, the function that predicts the others.
        splits: ``random`` fifths, every ``resolution`` (see above), every count of ``channels``, every
            ``window`` (kernel size and dilation of what is larger than a pixel).
        resolutions: of each kernel, those that were profiled and have it, HxW; none where nobody knows.
        among: those that may be left out; all when None.
        seed: of the random fifths, and of the groups that are tried.
        most: groups that are tried of each split; all when None.
        watch: told before every fit, and at the end.
    """
    draw = np.random.default_rng(seed)
    plan, possible = {}, {}
    open_rows = [row for row, kernel in enumerate(kernels) if among is None or kernel in among]
    for split in splits:
        found = _groups(kernels, split, draw, resolutions, open_rows)
        groups = [group for group in found if len(kernels) - len(group.rows) >= LEAST_KEPT]
        possible[split] = len(groups)
        chosen = draw.permutation(len(groups))[:most]
        plan[split] = [groups[i] for i in sorted(chosen.tolist())]
    total = sum(map(len, plan.values()))
    done = 0
    judged = {}
    for split, groups in plan.items():
        rows: list[int] = []
        predictions: list[Estimate] = []
        for group in groups:
            watch(done, total, f"left out: {split} {group.name}")
            kept = sorted(set(range(len(kernels))) - set(group.rows))
            predict = fit([kernels[i] for i in kept], [seconds[i] for i in kept])
            predictions += predict([kernels[i] for i in group.rows])
            rows += group.rows
            done += 1
        if rows:
            overall, by_kind = _judge([kernels[i] for i in rows], [seconds[i] for i in rows], predictions)
            names = tuple(group.name for group in groups)
            judged[split] = HoldOut(names, possible[split], overall, by_kind)
    watch(done, total, "")
    return judged


def _judge(
    kernels: Sequence[Kernel], seconds: Sequence[float], predictions: Sequence[Estimate]
) -> tuple[Errors, dict[str, Errors]]:
    """Errors of all, and by kind."""
    by_kind = {}
    for kind in sorted({kernel.kind for kernel in kernels}):
        rows = [i for i, kernel in enumerate(kernels) if kernel.kind == kind]
        by_kind[kind] = Errors.of([predictions[i] for i in rows], [seconds[i] for i in rows])
    return Errors.of(predictions, seconds), by_kind


def _groups(
    kernels: Sequence[Kernel],
    split: str,
    draw: np.random.Generator,
    resolutions: Sequence[Collection[str]],
    open_rows: Sequence[int],
) -> list[_Group]:
    """What is left out together; a row may be in several groups, or in none. ``open_rows``: that may be."""
    if split == "random":
        order = draw.permutation(open_rows).tolist()
        return [_Group(f"fifth {i + 1}", order[i::_FIFTHS]) for i in range(min(_FIFTHS, len(order)))]
    rows: dict[str, list[int]] = {}
    several = split == "resolution" and len(set().union(*resolutions)) > 1
    hard = list(_only_ones(resolutions) if several else _HARD[split](kernels))
    for row in open_rows:
        for name in hard[row]:
            rows.setdefault(name, []).append(row)
    return [_Group(name, members) for name, members in sorted(rows.items())]


def _only_ones(resolutions: Sequence[Collection[str]]) -> Iterator[set[str]]:
    """The one input resolution that has a kernel."""
    for names in resolutions:
        yield set(names) if len(names) == 1 else set()


def _output_sizes(kernels: Sequence[Kernel]) -> Iterator[set[str]]:
    """Of a kernel's output. Odd sides count as the even ones that they were cut from."""
    for kernel in kernels:
        *_, height, width = kernel.output_shape
        yield {f"{height + height % 2}x{width + width % 2}"}


def _channel_counts(kernels: Sequence[Kernel]) -> Iterator[set[str]]:
    """Of a convolution's input and output."""
    for kernel in kernels:
        yield {
            str(count) for conv in _convolutions(kernel) for count in (conv.in_channels, conv.out_channels)
        }


def _windows(kernels: Sequence[Kernel]) -> Iterator[set[str]]:
    """Kernel size and dilation, of those that look beyond their own pixel."""
    for kernel in kernels:
        convolutions = [conv for conv in _convolutions(kernel) if conv.kernel > 1]
        yield {f"{conv.kernel}x{conv.kernel} dilated {conv.dilation}" for conv in convolutions}


def _convolutions(kernel: Kernel) -> list[Conv2d]:
    return [node.op for node in kernel.graph.nodes if isinstance(node.op, Conv2d)]


_HARD = {"resolution": _output_sizes, "channels": _channel_counts, "window": _windows}
