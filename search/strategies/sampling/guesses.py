"""How accurate networks may be, guessed from those that were scored: boosted trees over options and costs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from search.costs.space_costs import SpaceCosts
from search.spaces.space import Genotype, SearchSpace
from search.strategies.sampling.tried import Tried

_COSTS = ("latency", "macs", "params")
_ROUNDS = 100
_SETTINGS = {  # small trees: there are tens of rows
    "max_depth": 3,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "nthread": 1,  # the same trees on every machine
    "seed": 0,
}

Vector = npt.NDArray[np.float64]


def guessed(costs: SpaceCosts, log: Sequence[Tried], networks: Sequence[Genotype]) -> Vector:
    """The score that each of the networks may have, by the scores in the log; a failed one counts as 0."""
    names = [decision.name for decision in costs.space.decisions]
    known = [dict(zip(names, tried.options, strict=True)) for tried in log]
    rewards = np.array([tried.reward for tried in log])
    model = fit_trees(_described(costs, known), rewards)
    return model(_described(costs, networks))


def _described(costs: SpaceCosts, networks: Sequence[Genotype]) -> Vector:
    return features(
        costs.space, [tuple(network.values()) for network in networks], costs.cost(networks, _COSTS)
    )


def features(space: SearchSpace, options: Sequence[Sequence[str]], costs: Mapping[str, Vector]) -> Vector:
    """A row a network: which option each decision has, and the logarithms of its costs.

    Args:
        options: of each network, one a decision.
        costs: of all networks, by name.
    """
    chosen = np.array(options, dtype=object)
    columns = [
        (chosen[:, place] == option).astype(np.float64)
        for place, decision in enumerate(space.decisions)
        for option in decision.options
    ]
    columns += [np.log(np.maximum(values, np.finfo(np.float64).tiny)) for values in costs.values()]
    return np.column_stack(columns)


def fit_trees(rows: Vector, scores: Vector) -> Callable[[Vector], Vector]:
    """What tells the scores of other rows."""
    import xgboost  # takes a while to load

    middle = float(scores.mean())
    model = xgboost.train(_SETTINGS, xgboost.DMatrix(rows, scores - middle), num_boost_round=_ROUNDS)
    return lambda asked: middle + model.predict(xgboost.DMatrix(asked)).astype(np.float64)
