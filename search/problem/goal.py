"""What a search pays for, and how much of it there may be. No PyTorch."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from search.errors import InvalidSearch
from targets.support.text import near_miss

UNITS = {
    "ms": ("latency", 1e-3),
    "s": ("latency", 1.0),
    "MMACs": ("macs", 1e6),
    "GMACs": ("macs", 1e9),
    "kparams": ("params", 1e3),
    "Mparams": ("params", 1e6),
    "KiB": ("memory", 2**10),
    "MiB": ("memory", 2**20),
}
"""Unit of a budget -> the objective that it limits, and how much one is in seconds, MACs, values or bytes."""
SEARCHED = ("latency", "macs", "params", "memory", "bytes")
"""Of ``search.costs.objectives``: what a search can pay for."""


@dataclass(frozen=True)
class Mix:
    """Weights of objectives. Each cost counts as a share of that of the mean network of the space.

    Attributes:
        weights: by objective; they add up to 1.
    """

    weights: Mapping[str, float]

    @classmethod
    def parse(cls, text: str) -> "Mix":
        """``latency``, or a mix such as ``latency:3,memory:1``. Raises InvalidSearch."""
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, _, number = part.strip().partition(":")
            if name not in SEARCHED:
                raise InvalidSearch(
                    f"objective {name!r}{near_miss(name, SEARCHED)}; allowed: {', '.join(SEARCHED)}, "
                    "or a mix such as latency:3,memory:1"
                )
            weight = _positive(number) if number else 1.0
            if weight is None or name in weights:
                raise InvalidSearch(
                    f"objective {text!r}: give each cost once, with a weight above 0: latency:3,memory:1"
                )
            weights[name] = weight
        total = sum(weights.values())
        return cls({name: weight / total for name, weight in weights.items()})

    def __str__(self) -> str:
        if len(self.weights) == 1:
            return next(iter(self.weights))
        return ",".join(f"{name}:{weight:.3g}" for name, weight in self.weights.items())


@dataclass(frozen=True)
class Budget:
    """A limit on one cost of the final network.

    Attributes:
        name: of the objective.
        value: in seconds, MACs, values or bytes.
        unit: as the user wrote it.
    """

    name: str
    value: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """``30ms``, ``2.5GMACs``, ``0.5Mparams``, ``64MiB``. Raises InvalidSearch."""
        match = re.fullmatch(r"([0-9.eE+-]+)\s*([A-Za-z]+)", text.strip())
        units = {unit.lower(): unit for unit in UNITS}
        number = _positive(match[1]) if match else None
        if match is None or number is None or match[2].lower() not in units:
            raise InvalidSearch(
                f"budget {text!r}: write a number above 0 with a unit, such as 30ms; "
                f"units: {', '.join(UNITS)}"
            )
        unit = units[match[2].lower()]
        name, size = UNITS[unit]
        return cls(name, number * size, unit)

    def text(self, value: float) -> str:
        """Any amount of this cost in the budget's unit."""
        return f"{value / UNITS[self.unit][1]:.4g} {self.unit}"

    def __str__(self) -> str:
        return self.text(self.value)

    def _rounded_up(self, value: float) -> str:
        """With four digits, and accepted as a budget."""
        amount = value / UNITS[self.unit][1]
        step = 10.0 ** (math.floor(math.log10(amount)) - 3)
        return f"{math.ceil(amount / step) * step:.4g} {self.unit}"

    def check(self, least: float, most: float, where: str = "") -> None:
        """Raises InvalidSearch where no network of the space costs the budget.

        Args:
            least, most: cost of the cheapest and of the dearest network.
            where: what the costs are of, in words: ``costs are at 512x1024``.
        """
        told = f" ({where})" if where else ""
        if self.value < least:
            raise InvalidSearch(
                f"budget {self}: the cheapest network of the space takes {self.text(least)}; "
                f"the smallest budget that can be met is {self._rounded_up(least)}{told}"
            )
        if self.value > most:
            raise InvalidSearch(
                f"budget {self}: the dearest network of the space takes {self.text(most)}; "
                "any budget up to that is a choice, above it there is nothing to search: "
                f"take a larger space{told}"
            )


def _positive(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
