"""How sure a search is of what it found: probabilities that end nearly alike are a draw, not a choice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FLAT = 0.97  # share of the largest entropy above which a kind of decision is nearly undecided


@dataclass(frozen=True)
class Sureness:
    """Of all decisions of a kind, the mean.

    Attributes:
        top: probability of the likeliest option.
        entropy: as a share of that of options that are all alike.
    """

    top: float
    entropy: float


def mean_sureness(chances: Iterable[npt.NDArray[Any]]) -> Sureness:
    """Of decisions with the same number of options, (decisions, options) each."""
    rows = np.concatenate(list(chances))
    entropies = -(rows * np.log(np.maximum(rows, 1e-300))).sum(axis=1)
    most = np.log(rows.shape[1]) if rows.shape[1] > 1 else 1.0
    return Sureness(float(rows.max(axis=1).mean()), float(entropies.mean() / most))


def undecided(found: Mapping[str, Mapping[Any, Sureness]]) -> str | None:
    """What to say before networks of such decisions are handed over; None where they are decided.

    Args:
        found: by whose they are, and their kind.
    """
    flat = {name: _flat(kinds) for name, kinds in found.items()}
    said = "; ".join(f"{name} on {kinds}" for name, kinds in flat.items() if kinds)
    if not said:
        return None
    return f"the search ended nearly undecided: {said}. Another seed may give others as good"


def _flat(kinds: Mapping[Any, Sureness]) -> str:
    return ", ".join(
        f"{kind} (likeliest {sure.top:.0%}, entropy {sure.entropy:.1%})"
        for kind, sure in kinds.items()
        if sure.entropy > FLAT
    )
