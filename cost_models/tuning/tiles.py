"""The search among the tiles of our templates: by a model, then by trials, too."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cost_models.database.records import Trial
from cost_models.schedules.conv_template import Conv
from cost_models.schedules.sblocks import scheduled_module
from cost_models.schedules.serialization import Proposal, tile_of, tile_text
from cost_models.schedules.tiles import all_tiles, features, schedule, tiled_conv

_MOST_TILES = 4096  # to choose from: those that the model likes best

# Of the search, in logs of time. Fitted to 60 tiles each of 18 kernels of SqueezeNAS-Small.
_TRUST = 0.7  # in differences that the model sees: true ones are smaller
_DEVIATION = 0.3  # of the model from the truth
_NOISE = 0.05  # of a trial
_FAILED = 1.0  # a tile that cannot be built or run counts as so much worse than expected
_BOLDNESS = 0.5  # deviations by which the unknown is taken to be better than expected
_TIE_BREAK = 0.01

Array = npt.NDArray[np.float64]


class Tiles:
    """Tiles of one kernel, the most promising first: by the model, then by what was measured, too.

    Attributes:
        sampling_s: time spent on proposing. evolution_s: none.
    """

    evolution_s = 0.0

    def __init__(self, conv: Conv, tvm_target: Any, seed: int) -> None:
        started = time.perf_counter()
        self._conv, self._target = conv, tvm_target
        ranked = sorted(all_tiles(conv, tvm_target), key=lambda pair: pair[1])[:_MOST_TILES]
        self._index = {tile: index for index, (tile, _) in enumerate(ranked)}
        # many tiles cost the same by the model: chance decides which of them comes first
        chance = np.random.default_rng(seed).normal(scale=_TIE_BREAK, size=len(ranked))
        self._prior: Array = _TRUST * np.log([cost for _, cost in ranked]) + chance
        self._open = np.ones(len(ranked), bool)
        self._measured: dict[int, float] = {}  # index -> log of seconds; infinite where it failed
        self.sampling_s = time.perf_counter() - started

    @staticmethod
    def of(mod: Any, tvm_target: Any, seed: int) -> "Tiles | None":
        """``None`` where no template covers the kernel on this target."""
        try:
            conv = tiled_conv(mod, tvm_target)
        except Exception:  # TVM raises many types
            return None
        return Tiles(conv, tvm_target, seed)

    def propose(self, at_most: int) -> list[Proposal]:
        """New tiles, spread out; none when all of them have been proposed."""
        started = time.perf_counter()
        belief = self._belief()
        tiles = list(self._index)
        found: list[Proposal] = []
        while len(found) < at_most and self._open.any():
            index = int(np.argmin(np.where(self._open, belief.optimistic(), math.inf)))
            self._open[index] = False
            belief.learn(index)
            mod = scheduled_module(schedule(self._conv, self._target, tiles[index]))
            found.append(Proposal(schedule=tile_text(tiles[index]), mod=mod, origin="tiles"))
        self.sampling_s += time.perf_counter() - started
        return found

    def learn(self, trials: Sequence[Trial]) -> None:
        """What tiles of this kernel gave; those that it would never propose teach it nothing."""
        for trial in trials:
            tile = tile_of(trial.schedule)
            if tile in self._index:
                index = self._index[tile]
                self._open[index] = False
                self._measured[index] = math.log(trial.median_s)

    def _belief(self) -> "Belief":
        belief = Belief(self._prior, np.array([features(tile) for tile in self._index]))
        right = {index: value for index, value in self._measured.items() if math.isfinite(value)}
        if right:
            belief.mean += float(np.median([value - self._prior[index] for index, value in right.items()]))
        for index, value in self._measured.items():
            belief.learn(index, value if index in right else float(belief.mean[index]) + _FAILED)
        return belief


class Belief:
    """A Gaussian process over the log of times: the model is its mean, and neighbours are alike.

    Args:
        prior: mean of each point, before anything is known.
        features: (points, n); points that lie one unit apart have about 0.6 of their deviation in common.
    """

    def __init__(self, prior: Array, features: Array) -> None:
        self.mean, self._features = prior.copy(), features
        self._variance = np.full(len(prior), _DEVIATION**2)
        self._rows: list[Array] = []

    def learn(self, index: int, value: float | None = None) -> None:
        """Point ``index`` was found at ``value``; ``None``: it will be known, as it is expected."""
        distance = ((self._features - self._features[index]) ** 2).sum(axis=1)
        shared = _DEVIATION**2 * np.exp(-distance / 2)
        for row in self._rows:
            shared -= row[index] * row
        scale = math.sqrt(max(float(self._variance[index]), 0.0) + _NOISE**2)
        row = shared / scale
        if value is not None:
            self.mean += row * (value - self.mean[index]) / scale
        self._variance -= row**2
        self._rows.append(row)

    def optimistic(self) -> Array:
        """Each point's mean, lower the less is known about it."""
        deviations: Array = np.sqrt(np.maximum(self._variance, 0.0))
        return self.mean - _BOLDNESS * deviations
