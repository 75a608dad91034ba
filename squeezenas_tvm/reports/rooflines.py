"""Kernels under their roofs: multiply-accumulates a second over multiply-accumulates a byte.

After Williams, Waterman and Patterson (CACM 52(4), 2009), with the best rates that were measured as roofs.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cost_models.kernel_models.roofline import PhysicalModel
from squeezenas_tvm.reports.charts import Series, chart, row
from squeezenas_tvm.reports.marks import GREY
from squeezenas_tvm.reports.page import Markup, join, paragraph

_STYLES = {"dense": 1, "pointwise": 2, "depthwise": 3, "grouped": 5}
_OTHERS = 6
_MOST = 170  # marks, those with the largest shares: a page is to stay small
_SMALLEST, _GROWTH = 2.2, 9.0  # radius of a mark: of no share, and more with the root of its share


@dataclass(frozen=True)
class PlacedKernel:
    """A kernel as the picture shows it.

    Attributes:
        name: for people.
        kind: class of its work.
        macs, bytes_moved: of a call.
        seconds: of a call.
        calls: in the network.
        share: of the network's latency, all calls together, 0 to 1.
        how: where its latency is from.
    """

    name: str
    kind: str
    macs: int
    bytes_moved: int
    seconds: float
    calls: float
    share: float
    how: str

    @property
    def intensity(self) -> float:
        """Multiply-accumulates a byte."""
        return self.macs / self.bytes_moved if self.bytes_moved else math.nan

    @property
    def gmacs_per_s(self) -> float:
        return self.macs / self.seconds / 1e9


def roofline(kernels: Sequence[PlacedKernel], model: PhysicalModel, whose: str) -> Markup:
    """The picture, and what is not in it; nothing where no kernel multiplies.

    Args:
        whose: latency the shares are of, for people: ``a network's``.
    """
    placed = [own for own in kernels if own.macs and own.bytes_moved and own.seconds > 0]
    shown = sorted(placed, key=lambda own: -own.share)[:_MOST]
    if not shown:
        return Markup()
    others = [own for own in kernels if not own.macs]
    left = sum(own.share for own in others)
    said = (
        "A mark is a kernel, the larger the more of the latency it takes; lines are the best rates that were "
        "measured here."
    )
    if len(shown) < len(placed):
        rest = sum(own.share for own in kernels if own.macs) - sum(own.share for own in shown)
        said += f" {len(placed) - len(shown)} others take {rest:.1%}."
    if others:
        said += f" {len(others)} kernels that multiply nothing are not in it: {left:.0%} of the latency."
    picture = chart(
        f"Roofline: kernels by intensity and rate, and their share of {whose} latency",
        [*_roofs(shown, model), *_marks(shown, model, whose)],
        x="multiply-accumulates a byte",
        y="GMAC/s",
        logarithmic="xy",
        wide=True,
    )
    return join([row([picture]), paragraph(said)])


def _marks(shown: Sequence[PlacedKernel], model: PhysicalModel, whose: str) -> Iterable[Series]:
    """The kernels of each kind, those with the largest shares first, so that small ones lie on top."""
    for kind in dict.fromkeys([*_STYLES, *(own.kind for own in shown)]):
        own = sorted((one for one in shown if one.kind == kind), key=lambda one: -one.share)
        yield Series(
            kind,
            [(one.intensity, one.gmacs_per_s) for one in own],
            "dots",
            _STYLES.get(kind, _OTHERS),
            radii=[round(_SMALLEST + _GROWTH * math.sqrt(max(one.share, 0.0)), 1) for one in own],
            told=[_told(one, model, whose) for one in own],
        )


def _told(own: PlacedKernel, model: PhysicalModel, whose: str) -> str:
    highest = model.rates.get(own.kind, max(model.rates.values(), default=math.inf))
    roof = min(highest, own.intensity * model.bandwidth) / 1e9
    reached = f", {own.gmacs_per_s / roof:.0%} of its roof" if math.isfinite(roof) and roof else ""
    return (
        f"{own.name}\n{own.share:.1%} of {whose} latency\n{own.seconds * 1e3:.3f} ms a call, "
        f"{own.calls:.3g} calls\n{own.gmacs_per_s:.3g} GMAC/s{reached}\n{own.intensity:.3g} MACs a byte\n"
        f"{own.how}"
    )


def _roofs(shown: Sequence[PlacedKernel], model: PhysicalModel) -> Iterable[Series]:
    """The bandwidth, up to the highest rate, and to its right the rate of each kind."""
    gbytes = model.bandwidth / 1e9
    kinds = {own.kind for own in shown} & set(model.rates) or set(model.rates)  # of none: one roof for all
    rates = {kind: rate / 1e9 for kind, rate in model.rates.items() if kind in kinds}
    first, last = min(own.intensity for own in shown), max(own.intensity for own in shown)
    highest = max(rates.values(), default=last * gbytes)
    end = max(highest / gbytes, first)
    yield Series(
        f"bandwidth, {gbytes:.3g} GB/s", [(first, first * gbytes), (end, end * gbytes)], "line", GREY
    )
    for kind, rate in rates.items():
        start = max(rate / gbytes, first)
        points = [(start, rate), (max(last, start), rate)]
        yield Series(f"{kind}, {rate:.3g} GMAC/s", points, "line", _STYLES.get(kind, _OTHERS))
