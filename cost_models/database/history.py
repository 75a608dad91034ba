"""What a store knows of kernels in one environment: the questions that a profile asks before it goes on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cost_models.database.environment import is_told_of
from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel


@dataclass(frozen=True)
class History:
    """``store`` as seen from ``environment``, a digest. Nothing is kept here: every answer is read anew."""

    store: MeasurementStore
    environment: str

    @staticmethod
    def of(store: MeasurementStore, fingerprint: Mapping[str, Any]) -> "History":
        """To read what was measured there. Raises UnknownEnvironment: nothing was."""
        return History(store, store.find_environment(fingerprint))

    @cached_property
    def fingerprint(self) -> Mapping[str, Any]:
        """Of the environment."""
        return self.store.environments()[self.environment]

    def trials(self, kernel: Kernel) -> dict[int, Trial]:
        """Every trial by id, oldest first."""
        return self.store.trials(self.environment, kernel.key)

    def best(self, kernel: Kernel, at_most: int) -> dict[int, Trial]:
        """The fastest trials by id, the best first."""
        ran = {id_: trial for id_, trial in self.trials(kernel).items() if trial.error is None}
        return {id_: ran[id_] for id_ in sorted(ran, key=lambda id_: ran[id_].median_s)[:at_most]}

    def told(self, kernel: Kernel) -> dict[str, Trial]:
        """What others tell of schedules, by their text, the fastest first: nothing measured here."""
        known = self.store.environments().items()
        others = [digest for digest, there in known if is_told_of(there, self.fingerprint)]
        trials = [trial for other in others for trial in self.store.trials(other, kernel.key).values()]
        found: dict[str, Trial] = {}
        for trial in sorted(trials, key=lambda trial: trial.median_s):
            found.setdefault(trial.schedule, trial)
        return found

    def timings(self, kernel: Kernel) -> dict[int | None, list[Measurement]]:
        """Careful timings by id of the trial, None for the default schedule; the oldest first."""
        return self.store.timings(self.environment, kernel.key).get(kernel.key, {})

    def fastest(self, kernel: Kernel) -> tuple[int | None, Measurement | None]:
        """The timing that the table counts, after the id of its trial, which the default schedule has not."""
        found = self.store.fastest(self.environment, kernel.key)
        return found.get(kernel.key, (None, None))

    def tried(self, kernel: Kernel) -> int:
        """How many trials there are."""
        return self.store.trial_counts(self.environment, kernel.key).get(kernel.key, 0)

    def default_s(self, kernel: Kernel) -> float:
        """Median of the default schedule; infinite where it was not timed or does not run."""
        return min((m.median_s for m in self.timings(kernel).get(None, [])), default=math.inf)

    def fastest_s(self, kernel: Kernel) -> float:
        """The lowest latency seen, in careful timings and in trials; infinite where nothing ran."""
        timed = [m.median_s for timings in self.timings(kernel).values() for m in timings]
        return min([*timed, *(trial.median_s for trial in self.best(kernel, 1).values())], default=math.inf)
