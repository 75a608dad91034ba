"""Axes of charts: where values lie, linearly or by their logarithm, and the round ones beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TICKS = 5  # about so many on an axis
_DECADES = 6  # at most so many are written
_LETTERS = 7  # of a number beside an axis
_FAR = 12.0  # last over first value from which a logarithmic axis shows powers of ten, and 2 and 5 times them
_LONG = 1e3  # the same from which it shows powers alone
_MOST = 1e100  # a file may say any number, and beyond that one there is no room to count with it


@dataclass(frozen=True)
class Axis:
    """Values ``low`` to ``high`` lie at pixels ``start`` to ``end``.

    Attributes:
        log: by their logarithm; both ends are then above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Its pixel."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def inside(self, value: float) -> float:
        """Its place, or the end of the axis that it lies beyond."""
        return self.at(min(max(value, self.low), self.high))

    def ticks(self) -> list[float]:
        """Round values: steps of 1, 2 or 5 times a power of ten, or such multiples themselves."""
        if self.log and self.high / self.low > _FAR:
            every = math.ceil(math.log10(self.high / self.low) / _DECADES)
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            factors = (1, 2, 5) if self.high / self.low < _LONG else (1,)
            found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
            return [value for value in found if self.low <= value * (1 + 1e-9) <= self.high * (1 + 2e-9)]
        step = _round_step((self.high - self.low) / _TICKS)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def words(self) -> str:
        """Its values, for the page's script."""
        return f"{self.low:.9g} {self.high:.9g} {'log' if self.log else 'linear'}"


def is_drawable(value: float, *, log: bool = False) -> bool:
    """Whether a number has a place on an axis."""
    if log:
        return 1 / _MOST < value < _MOST
    return abs(value) < _MOST  # nan is not


def axis_range(values: Sequence[float], *, log: bool = False) -> tuple[float, float]:
    """Ends that hold all values with a margin; on a linear axis from 0 where that is near."""
    low, high = min(values), max(values)
    if log:
        if low == high:
            low, high = low / 2, high * 2
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    if high - low <= max(abs(low), abs(high)) * 1e-12 or high - low < 1 / _MOST:
        aside = (abs(low) if abs(low) > 1 / _MOST else 1) / 10
        low, high = low - aside, high + aside
    margin = (high - low) / 20
    starts_at_zero = 0 <= low < (high - low) / 2
    return (0.0 if starts_at_zero else low - margin), high + margin


def number_text(value: float) -> str:
    """A number beside an axis, never longer than there is room."""
    text = f"{value:.6g}"
    if len(text) <= _LETTERS:
        return text
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
