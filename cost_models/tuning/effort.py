"""How much a profile may try: named amounts of work, as plain data."""

import math
from dataclasses import dataclass

from cost_models.errors import CostModelError

MANY = 300  # kernels; chains have up to 190, grids with widths 466


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """Trials for the kernels of a space.

    Attributes:
        trials: of a kernel that is searched alone; 0 leaves every kernel its default schedule.
        transfers: schedules of other kernels, adapted, that are tried on a kernel instead of a search;
            0: every kernel is searched alone.
        anchors: share of the kernels that are searched alone and then lend their schedules; more where the
            kernels are of too many families for that.
        budget: all trials, as a share of what searching every kernel alone would take.
        timing_s: at most, for the careful timing of one schedule; the target's own budget where that is less.
        visits: careful timings of each kernel's fastest schedule, minutes apart.
        most: kernels that are measured of a space with more than ``MANY``, the others being predicted; all
            when None.

    Raises:
        CostModelError: a value has no meaning, or the budget is less than the transfers take.
    """

    name: str
    trials: int
    transfers: int = 0
    anchors: float = 1.0
    budget: float = 1.0
    timing_s: float = math.inf
    visits: int = 1
    most: int | None = None

    def __post_init__(self) -> None:
        for field, least in (("trials", 0), ("transfers", 0), ("visits", 1)):
            if getattr(self, field) < least:
                raise CostModelError(
                    f"effort {self.name}: {field} must be >= {least}, found {getattr(self, field)}"
                )
        for field in ("anchors", "budget"):
            if not 0 < getattr(self, field) <= 1:
                raise CostModelError(
                    f"effort {self.name}: {field} is a share, above 0 and at most 1, "
                    f"found {getattr(self, field)}"
                )
        if self.transfers > self.trials * self.budget:
            raise CostModelError(
                f"effort {self.name}: {self.transfers} transfers a kernel are more than the budget of "
                f"{self.trials * self.budget:g} trials a kernel; lower transfers or raise budget"
            )

    @staticmethod
    def alone(trials: int) -> "Effort":
        """Every kernel gets a search of its own, of so many trials."""
        return Effort(name=f"{trials} trials", trials=trials)

    def total(self, kernels: int) -> int:
        """Trials that may be spent on so many kernels: the budget, but never less than one whole search."""
        if not kernels:
            return 0
        return max(self.trials, int(self.trials * self.budget * kernels))

    def measured(self, kernels: int) -> int:
        """How many of a space's kernels are measured where nobody says how many."""
        return kernels if self.most is None or kernels <= MANY else min(self.most, kernels)


EFFORTS = {
    effort.name: effort
    for effort in (
        # about 570 trials for the 161 kernels of Small: three minutes at 200 a minute, and as much for timing
        Effort(name="quick", trials=16, transfers=2, anchors=0.14, budget=0.22, timing_s=0.5, most=120),
        # 1850 trials for them: less than a fifth of thorough, whose searches often find no more than 50
        Effort(name="standard", trials=40, transfers=4, anchors=0.14, budget=0.2875, visits=3, most=240),
        Effort(name="thorough", trials=64, visits=3),
    )
}
"""Those that the command line knows, least work first."""
