"""Networks that were judged, their Pareto front, and the one to take. No PyTorch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """A network of the space, judged by its strategy.

    Attributes:
        options: one a decision, in the space's order.
        score: the task's reward on the validation frames; of segmentation mIoU, 0..1.
        latency_s, low_s, high_s: estimated; the interval holds nine of ten.
        memory, bytes: peak of its feature maps, and traffic of all its kernels.
    """

    options: tuple[str, ...]
    score: float
    latency_s: float
    low_s: float
    high_s: float
    macs: float
    params: float
    memory: float
    bytes: float

    def cost(self, name: str) -> float:
        """Of an objective."""
        return float(self.latency_s if name == "latency" else getattr(self, name))


def pareto_front(networks: Iterable[Judged], cost: str) -> list[Judged]:
    """Those that no other beats in both accuracy and cost; the cheapest first."""
    front: list[Judged] = []
    for network in sorted(networks, key=lambda n: (n.cost(cost), -n.score)):
        if not front or network.score > front[-1].score:
            front.append(network)
    return front


def choose(
    networks: Sequence[Judged], cost: str, limit: float | None, worth: Callable[[Judged], float]
) -> Judged:
    """The best within the limit; the cheapest where none is; without a limit the best of all."""
    allowed = [n for n in networks if limit is None or n.cost(cost) <= limit]
    if not allowed:
        return min(networks, key=lambda n: n.cost(cost))
    return max(allowed, key=lambda n: (worth(n), -n.cost(cost)))
