"""How sure a search is of what it found: logits that end nearly alike are a draw, not a choice."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.spaces.fasterseg.logits import Array, Logits, softmax
from search.strategies.fasterseg.latency import Kind

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


def sureness(logits: Logits) -> dict[Kind, Sureness]:
    """By kind of decision, as far as there is a choice."""
    rows: Mapping[Kind, tuple[Array, ...]] = {
        "operation": logits.alpha,
        "path": logits.beta,
        "width": logits.ratio,
    }
    return {kind: _mean(own) for kind, own in rows.items() if own[0].shape[1] > 1}


def undecided(learned: Mapping[str, Logits]) -> str | None:
    """What to say before networks of such logits are handed over; None where they are decided.

    Args:
        learned: by whose they are.
    """
    flat = {name: _flat(logits) for name, logits in learned.items()}
    said = "; ".join(f"{name} on {kinds}" for name, kinds in flat.items() if kinds)
    if not said:
        return None
    return f"the search ended nearly undecided: {said}. Another seed may give others as good"


def _flat(logits: Logits) -> str:
    return ", ".join(
        f"{kind} (likeliest {sure.top:.0%}, entropy {sure.entropy:.1%})"
        for kind, sure in sureness(logits).items()
        if sure.entropy > FLAT
    )


def _mean(arrays: tuple[Array, ...]) -> Sureness:
    chances = np.concatenate([softmax(own) for own in arrays])
    entropies = -(chances * np.log(np.maximum(chances, 1e-300))).sum(axis=1)
    most = np.log(chances.shape[1])
    return Sureness(float(chances.max(axis=1).mean()), float(entropies.mean() / most))
