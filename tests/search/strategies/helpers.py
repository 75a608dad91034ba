"""What the tests of searches share: drawn scenes of 64x64, a space of five positions, the Xavier's prior."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml

from cost_models.cost_model import CostModel
from cost_models.lookup import find_prior
from search.costs.space_costs import SpaceCosts
from search.data import open_data
from search.data.frames import Frame, Size, UInt8
from search.errors import InvalidRecipe
from search.problem.goal import Budget, Mix
from search.resolution import Resolution
from search.results.front import Judged
from search.run import SearchTask
from search.spaces.registry import get_space
from search.strategies.gumbel.gumbel import Progress
from search.strategies.gumbel.recipe import SearchRecipe
from targets import load_target
from targets.support.strict_yaml import parse_document

SMALL = get_space("small")
FIVE = replace(
    SMALL,
    name="five",
    positions=tuple(
        replace(position, in_channels=channels)
        for channels, position in zip((16, 16, 24, 40, 48), SMALL.positions[::4], strict=True)
    ),
    tap=1,
)  # one position of each stage of Small

RECIPE = """
schema_version: 1
kind: supernet-search
name: tiny
summary: as short as a search can be
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
epochs: 2
theta: {learning_rate: 0.1}
remove_below: 0.0
judging: {networks: 3, frames: 2, calibration_batches: 1}
"""


@dataclass(frozen=True)
class Drawn:
    """A frame that is drawn once for all tests, which takes longer than a step of a search."""

    frame: Frame

    @property
    def name(self) -> str:
        return self.frame.name

    def load(self) -> tuple[UInt8, UInt8]:
        return _loaded(self.frame)

    def faults(self, size: Size, *, decode: bool) -> list[str]:
        return []


@cache
def _loaded(frame: Frame) -> tuple[UInt8, UInt8]:
    return frame.load()


def recipe(**changes: Any) -> SearchRecipe:
    """The tiny one with other values."""
    return parse_document(yaml.safe_load(RECIPE) | changes, "tiny.yaml", SearchRecipe, InvalidRecipe)


def task(mix: str = "latency", budget: str | None = None, frames: int = 6, **changes: Any) -> SearchTask:
    """A search of the five positions on drawn scenes, by the Xavier's prior at 64x128."""
    target = load_target("jetson-xavier")
    spec = f"synthetic:{frames}:64x64"
    data = open_data(spec)
    splits = {name: tuple(map(Drawn, split)) for name, split in data.splits.items()}
    data = replace(data, splits=splits)
    model = CostModel(target.name, prior=find_prior(target))
    costs = SpaceCosts.of(model, FIVE, Resolution(64, 128), data.num_classes)
    limit = Budget.parse(budget) if budget else None
    searched = recipe(**changes)
    return SearchTask(
        FIVE, data, costs, target.name, Mix.parse(mix), limit, searched, Resolution(64, 128), spec
    )


class Log:
    """Keeps what a search says of itself."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[Progress] = []
        self.judgements: list[Judged] = []
        self._stop_after = stop_after

    def begin(self, title: str, total: int, done: int = 0) -> None:
        pass

    def step(self, now: Progress) -> None:
        self.steps.append(now)
        if self._stop_after is not None and len(self.steps) >= self._stop_after:
            raise KeyboardInterrupt

    def judged(self, network: Judged, count: int) -> None:
        self.judgements.append(network)
