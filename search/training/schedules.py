"""Learning rates over the steps of a stage."""

import math

from search.training.recipe import Exponential, Poly, Schedule, Steps


def learning_rate_factor(schedule: Schedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """By what the stage's learning rate is multiplied in ``step``, counted from 0."""
    epoch, share = step // steps_per_epoch, step / (steps_per_epoch * epochs)
    if isinstance(schedule, Poly):
        factor = (1 - share) ** schedule.power
    elif isinstance(schedule, Steps):
        factor = schedule.factor ** sum(epoch >= milestone for milestone in schedule.milestones)
    elif isinstance(schedule, Exponential):
        factor = schedule.factor**epoch
    else:
        factor = (1 + math.cos(math.pi * share)) / 2
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    return float(factor * min(1.0, (step + 1) / warmup_steps if warmup_steps else 1.0))
