"""Schedules of a kernel that others tell to be fast, as a source of candidates: here they are tried first."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from cost_models.database.records import Trial
from cost_models.errors import CostModelError
from cost_models.schedules.serialization import Proposal, replay_trace

MOST = 8  # of a kernel: two of them will be timed carefully

_log = logging.getLogger(__name__)


class Told:
    """Traces of MetaSchedule for this very kernel, in the order given; those that do not fit are left out.

    Args:
        mod: IRModule with the one function ``main``, not scheduled.
        schedules: their texts.
    """

    sampling_s = evolution_s = 0.0

    def __init__(self, mod: Any, schedules: Iterable[str]) -> None:
        self._mod, self._schedules = mod, iter(schedules)

    def propose(self, at_most: int) -> list[Proposal]:
        """The next that fit; fewer than ``at_most`` only when there are no more."""
        found: list[Proposal] = []
        while len(found) < at_most and (text := next(self._schedules, None)) is not None:
            try:
                mod = replay_trace(self._mod, text).mod
            except CostModelError as error:
                _log.warning("a schedule that others tell is left out: %s", error)
            else:
                found.append(Proposal(schedule=text, mod=mod, origin="evolution"))
        return found

    def learn(self, proposals: Sequence[Proposal], trials: Sequence[Trial]) -> None:
        """Nothing: what is left to propose does not depend on it."""
