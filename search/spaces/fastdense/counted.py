"""How often parts run, counted in networks: for spaces whose choices depend on each other in too many ways.

Of certain choices that is exact. Of others it is the share of networks drawn by fixed numbers, so that equal
probabilities have equal results; it has no gradient.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from search.spaces.space import A, Decision

DRAWN = 2000  # networks for each distribution that is not certain
_SEED = 0


def counted(
    decisions: Sequence[Decision],
    probabilities: Mapping[str, A],
    names: Iterable[str],
    parts_of: Callable[[Mapping[str, str]], Iterable[str]],
) -> dict[str, A]:
    """``SearchSpace.marginals``.

    Args:
        names: of all parts that may be left out.
        parts_of: names of those of one network.
    """
    first = probabilities[decisions[0].name]
    shape = tuple(first.shape[:-1])
    tables = [_rows(probabilities[decision.name], shape) for decision in decisions]
    count = len(tables[0])
    found = {name: np.zeros(count) for name in names}
    known: dict[tuple[int, ...], list[str]] = {}
    for row in range(count):
        chances = [table[row] for table in tables]
        drawn = _drawn(chances)
        for places in drawn:
            if places not in known:
                options = (d.options[place] for d, place in zip(decisions, places, strict=True))
                genotype = dict(zip((d.name for d in decisions), options, strict=True))
                known[places] = [name for name in parts_of(genotype) if name in found]
            for name in known[places]:
                found[name][row] += 1 / len(drawn)
    return {name: _like(first, values.reshape(shape)) for name, values in found.items()}


def _rows(values: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    plain = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    return plain.astype(np.float64).reshape(int(np.prod(shape)), -1)


def _drawn(chances: Sequence[npt.NDArray[np.float64]]) -> list[tuple[int, ...]]:
    """Places of the options of each network; of certain choices one."""
    if all(row.max() == 1 for row in chances):
        return [tuple(int(row.argmax()) for row in chances)]
    uniform = np.random.default_rng(_SEED).random((DRAWN, len(chances)))
    columns = []
    for column, row in enumerate(chances):
        levels = np.cumsum(row) / row.sum()
        columns.append(np.minimum(levels.searchsorted(uniform[:, column], side="right"), len(row) - 1))
    return [tuple(map(int, places)) for places in np.stack(columns, axis=1)]


def _like(values: Any, counts: npt.NDArray[np.float64]) -> Any:
    return values.new_tensor(counts) if hasattr(values, "new_tensor") else counts
