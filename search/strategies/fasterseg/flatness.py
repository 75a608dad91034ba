"""How sure the logits of a grid are."""

from collections.abc import Mapping

from search.spaces.fasterseg.logits import Array, Logits, softmax
from search.strategies.fasterseg.latency import Kind
from search.strategies.sureness import Sureness, mean_sureness


def sureness(logits: Logits) -> dict[Kind, Sureness]:
    """By kind of decision, as far as there is a choice."""
    rows: Mapping[Kind, tuple[Array, ...]] = {
        "operation": logits.alpha,
        "path": logits.beta,
        "width": logits.ratio,
    }
    return {
        kind: mean_sureness([softmax(part) for part in own])
        for kind, own in rows.items()
        if own[0].shape[1] > 1
    }
