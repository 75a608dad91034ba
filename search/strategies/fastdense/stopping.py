"""When a network is no longer worth its training: its reward is far below what others had."""

from dataclasses import dataclass

_DECAY = 0.99  # of the moving average
_STEPS = {100: 0.9, 200: 0.8, 300: 0.7, 400: 0.6}  # rewards seen -> factor on the tolerance


@dataclass
class EarlyStop:
    """Of one task and one validation.

    Attributes:
        average: moving average of rewards.
        tolerance: a reward may be below the average by a share drawn between 0 and it; falls as rewards come.
        count: rewards seen.
    """

    average: float = 0.01
    tolerance: float = 0.9
    count: int = 0

    def goes_on(self, reward: float, drawn: float) -> bool:
        """Whether a network with that reward is trained on. ``drawn``: uniform between 0 and 1."""
        self.average = _DECAY * self.average + (1 - _DECAY) * reward
        self.count += 1
        self.tolerance *= _STEPS.get(self.count, 1.0)
        return reward > self.average * (1 - drawn * self.tolerance)
