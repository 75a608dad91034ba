"""Finds a fast schedule for one kernel: several sources propose, the device decides who proposes more."""

import logging
import math
from collections.abc import Sequence
from typing import Any, Protocol

from cost_models.database.records import Trial
from cost_models.errors import CostModelError
from cost_models.lowering.pipeline import structural_hash
from cost_models.schedules.default import schedule_default
from cost_models.schedules.serialization import Proposal, apply_schedule, tile_of
from cost_models.tuning.evolution import Evolution
from cost_models.tuning.settings import SearchSettings
from cost_models.tuning.tiles import Tiles

__all__ = ["KernelSearch", "SearchSettings", "best_trial"]

_log = logging.getLogger(__name__)


class Proposer(Protocol):
    """Who proposes schedules of one kernel and learns from their trials; its times in seconds."""

    sampling_s: float
    evolution_s: float

    def propose(self, at_most: int) -> list[Proposal]:
        """Schedules that it has not proposed yet, the most promising first; none when there are no more."""

    def learn(self, trials: Sequence[Trial]) -> None:
        """What schedules in its text form gave."""


class KernelSearch:
    """A search of one kernel's schedules, asked and told by hand.

    Args:
        mod: IRModule whose only function is the kernel, ``main``.
        tvm_target: TVM target with ``num-cores`` where its kind has that.
        seed: same seed, same history and ``settings.threads`` 1: same first round.
        history: trials of an earlier run; they steer the search and are not repeated. One that does not fit
            this kernel any more is skipped with a warning.

    Not safe to use from two threads at a time; any one thread will do.
    """

    def __init__(
        self,
        mod: Any,
        tvm_target: Any,
        settings: SearchSettings | None = None,
        seed: int = 0,
        history: Sequence[Trial] = (),
    ) -> None:
        self._mod, self._target = mod, tvm_target
        self._settings = settings or SearchSettings()
        self._sources: dict[str, Proposer] = {}
        for name in self._settings.sources:
            source = self._make(name, seed + len(history))
            if source is not None:
                self._sources[name] = source
        self._seen = {structural_hash(schedule_default(mod, tvm_target))}  # which is timed anyway
        self._best_s = math.inf
        self._leader = next(iter(self._sources), None)
        self._replay(history)

    def _make(self, name: str, seed: int) -> Proposer | None:
        if name == "evolution":
            return Evolution(self._mod, self._target, self._settings, seed)
        return Tiles.of(self._mod, self._target, seed)

    @property
    def sampling_s(self) -> float:
        """Seconds spent on drawing candidates."""
        return sum(source.sampling_s for source in self._sources.values())

    @property
    def evolution_s(self) -> float:
        """Seconds spent on evolving them and on training cost models."""
        return sum(source.evolution_s for source in self._sources.values())

    def propose(self, at_most: int) -> list[Proposal]:
        """The next round: new schedules, no two alike; none when all of them have been proposed.

        Every source gets its least share, the leader the rest; what one cannot fill, the others do.
        """
        wanted = min(at_most, self._settings.round_size)
        least = int(wanted * self._settings.least_share + 0.5)
        others = [name for name in self._sources if name != self._leader]
        found: list[Proposal] = []
        for name, share in [
            *((n, least) for n in others),
            *((n, wanted) for n in (self._leader, *others) if n),
        ]:
            found += self._fresh(self._sources[name], min(share, wanted - len(found)))
        return found

    def learn(self, proposals: Sequence[Proposal], trials: Sequence[Trial]) -> None:
        """What the schedules of a round, or of neighbours of this kernel, gave.

        Args:
            trials: one for each proposal, in the same order.
        """
        self._seen |= {structural_hash(proposal.mod) for proposal in proposals}
        self._tell(trials)

    def _replay(self, history: Sequence[Trial]) -> None:
        known = []
        for trial in history:
            try:
                self._seen.add(structural_hash(apply_schedule(self._mod, self._target, trial.schedule)))
            except CostModelError as error:
                _log.warning("a stored trial is left out of the search: %s", error)
            else:
                known.append(trial)
        self._tell(known)

    def _tell(self, trials: Sequence[Trial]) -> None:
        source_of = {
            id(trial): "evolution" if tile_of(trial.schedule) is None else "tiles" for trial in trials
        }
        for name, source in self._sources.items():
            source.learn([trial for trial in trials if source_of[id(trial)] == name])
        for trial in trials:
            if trial.median_s < self._best_s and source_of[id(trial)] in self._sources:
                self._best_s, self._leader = trial.median_s, source_of[id(trial)]

    def _fresh(self, source: Proposer, wanted: int) -> list[Proposal]:
        """Proposals of a source that are no copies of what anybody has proposed."""
        found: list[Proposal] = []
        while len(found) < wanted and (proposals := source.propose(wanted - len(found))):
            for proposal in proposals:
                key = structural_hash(proposal.mod)
                if key not in self._seen:
                    self._seen.add(key)
                    found.append(proposal)
        return found


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest median; ``None`` when none has samples."""
    return min((trial for trial in trials if trial.error is None), key=lambda t: t.median_s, default=None)
