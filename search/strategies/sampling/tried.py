"""The log of networks that were tried out, whatever chose and whatever scored them. No PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tried:
    """A network and what became of it.

    Attributes:
        options: one a decision, in the space's order.
        score: the task's reward; None where it could not be told.
        rewards: of each validation on the way, where there were several.
        stopped: the part of its training behind which it was given up; None where it went through all.
        failed: why there is no score, one line.
        final: scored once more, as one of the best.
    """

    options: tuple[str, ...]
    score: float | None
    rewards: tuple[float, ...] = ()
    stopped: str | None = None
    failed: str | None = None
    final: bool = False

    @property
    def reward(self) -> float:
        """What is learnt from: the score, 0 where it failed."""
        return 0.0 if self.score is None else self.score

    def plain(self) -> dict[str, Any]:
        """For JSON and checkpoints; says ``final`` only where it is."""
        plain = {**asdict(self), "options": list(self.options), "rewards": list(self.rewards)}
        return plain if self.final else {key: value for key, value in plain.items() if key != "final"}

    @classmethod
    def of(cls, plain: Mapping[str, Any] | Sequence[Any]) -> "Tried":
        """What ``plain`` gave; earlier releases kept options and score alone, in a list."""
        if not isinstance(plain, Mapping):
            options, score = plain
            return cls(tuple(options), score)
        more = {**plain, "options": tuple(plain["options"]), "rewards": tuple(plain["rewards"])}
        return cls(**more)


def best_of(log: Sequence[Tried]) -> list[Tried]:
    """Each network that has a score once, the best first."""
    distinct = {tried.options: tried for tried in log if tried.score is not None}
    return sorted(distinct.values(), key=lambda tried: -tried.reward)


def known(log: Sequence[Tried], options: Sequence[str]) -> Tried | None:
    """The log's first line of a network; None where it has none."""
    own = tuple(options)
    return next((tried for tried in log if tried.options == own), None)
