"""Networks drawn from a distribution over the candidates of positions."""

from collections.abc import Sequence

import numpy as np

_TRIES = 50  # draws for every network wanted: a distribution that has settled repeats itself


def draw_networks(
    probabilities: Sequence[Sequence[float]], candidates: Sequence[Sequence[str]], count: int, seed: int
) -> list[tuple[str, ...]]:
    """Different networks from the final distribution, the likeliest first; fewer where it has hardly more."""
    random = np.random.default_rng(seed)
    rows = [np.asarray(row, dtype=np.float64) / np.sum(row) for row in probabilities]
    likeliest = tuple(names[int(row.argmax())] for row, names in zip(rows, candidates, strict=True))
    found = {likeliest: None}
    for _ in range(_TRIES * count):
        if len(found) >= count:
            break
        picks = [int(random.choice(len(row), p=row)) for row in rows]
        found.setdefault(tuple(names[pick] for names, pick in zip(candidates, picks, strict=True)))
    return list(found)
