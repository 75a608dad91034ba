"""How the schedules of one kernel are searched."""

from dataclasses import dataclass

from cost_models.errors import CostModelError

SOURCES = ("tiles", "evolution")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How candidates are proposed.

    Attributes:
        round_size: candidates built and measured between two updates of the cost models.
        population: schedules that evolve in each round of MetaSchedule.
        generations: of the evolution; 0 takes the best of the population as it was drawn.
        random_trials: before there are so many, MetaSchedule's cost model guesses.
        threads: of MetaSchedule. Above 1, its random numbers depend on which thread is first.
        sources: who proposes, of ``tiles`` and ``evolution``; the first leads until something is measured.
        least_share: of a round, for each source; the one that holds the best trial gets the rest.
    """

    round_size: int = 16
    population: int = 64
    generations: int = 2
    random_trials: int = 16
    threads: int = 1
    sources: tuple[str, ...] = SOURCES
    least_share: float = 0.25

    @classmethod
    def for_trials(cls, trials: int) -> "SearchSettings":
        """Settings for a kernel that gets so many trials.

        While the cost model guesses, evolving a population is wasted: 0.1 s instead of 3 s a round.
        """
        if trials > cls().random_trials:
            return cls()
        return cls(round_size=max(trials, 1), population=2 * max(trials, 1), generations=0)

    def __post_init__(self) -> None:
        for name in ("round_size", "population", "threads"):
            if getattr(self, name) < 1:
                raise CostModelError(f"SearchSettings.{name} must be >= 1, found {getattr(self, name)}")
        if self.generations < 0:
            raise CostModelError(f"SearchSettings.generations must be >= 0, found {self.generations}")
        if not self.sources or not set(self.sources) <= set(SOURCES):
            raise CostModelError(f"SearchSettings.sources must be some of {SOURCES}, found {self.sources}")
        if not 0 <= self.least_share * len(self.sources) <= 1:
            raise CostModelError(
                f"SearchSettings.least_share must be 0 to 1/{len(self.sources)}, found {self.least_share}"
            )
