"""What the tests of searches share: drawn scenes of 64x64, a space of five positions, the Xavier's prior."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import yaml

from cost_models.cost_model import CostModel
from cost_models.lookup import find_prior
from search.costs.chain_costs import space_costs
from search.costs.space_costs import SpaceCosts
from search.data import open_data
from search.data.frames import Data, Frame, Size, UInt8
from search.data.truth import Array
from search.errors import InvalidRecipe
from search.parallel.ranks import Ranks
from search.problem.goal import Budget, Mix
from search.problem.judged import Judged
from search.problem.problem import SearchProblem
from search.problem.strategy import Progress
from search.resolution import Resolution
from search.spaces.camera import HEADS
from search.spaces.gas.chain import CellChain, Pyramid
from search.spaces.gas.space import GasSpace
from search.spaces.registry import get_space
from search.spaces.space import SearchSpace
from search.strategies.fasterseg.recipe import CosearchRecipe
from search.strategies.gas.recipe import GasRecipe
from search.strategies.gumbel.recipe import GumbelRecipe
from search.strategies.registry import STRATEGIES
from search.strategies.sampling.recipe import EvolutionRecipe, PpoRecipe, RandomRecipe
from search.tasks.registry import TASKS
from search.tasks.task import rewarded
from targets import load_target
from targets.support.strict_yaml import parse_document

ALONE = Ranks(0, 1, torch.device("cpu"))
SIZE = Resolution(64, 128)  # that costs are of
TARGET = "jetson-xavier"
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
GRID = get_space("fasterseg-student:layers=8,base=3")
CELLS = GasSpace(
    name="cells",
    summary="four cells",
    chain=CellChain(channels=4, cells=4, reductions=(1,), decoder=Pyramid(rates=(2,), channels=8)),
)

GUMBEL = """
schema_version: 1
kind: supernet-search
name: tiny
summary: as short as a search can be
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
epochs: 2
logits: {learning_rate: 0.1}
remove_below: 0.0
judging: {networks: 3, frames: 2, calibration_batches: 1}
"""
RANDOM = """
schema_version: 1
kind: random
name: tiny
summary: as short as a search can be
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
scoring: {kind: paths, epochs: 1, calibration_batches: 1}
candidates: 5
frames: 2
"""
EVOLUTION = RANDOM.replace("kind: random", "kind: evolution\npopulation: 3\nsample: 2")
PPO = RANDOM.replace("kind: random", "kind: ppo\ndraws: 20")
COSEARCH = """
schema_version: 1
kind: cosearch
name: tiny
summary: as short as a search can be
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
pretraining: {epochs: 1, crop: [64, 64], batch_size: 2}
epochs: 2
logits: {learning_rate: 0.1}
frames: 1
"""
GAS = """
schema_version: 1
kind: gas
name: tiny
summary: as short as a search can be
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
epochs: 2
warmup: 0.5
logits: {learning_rate: 0.1}
judging: {networks: 3, frames: 2, calibration_batches: 1}
"""
TRAINING = {"kind": "training", "epochs": 1}
"""Scoring that works on every space."""
PROGRESSIVE = {
    "kind": "progressive",
    "reward": "combined",
    "decoder": {"frames": 4, "epochs": 2, "batch_size": 2, "validations": 2},
    "everything": {"steps": 1, "batch_size": 2},
}
"""Scoring of decoders over an encoder, without ``init``, its weights."""
DECODERS = get_space("fastdense@mobilenetv3-small-seg")

_RECIPES = {
    "gumbel": (GUMBEL, GumbelRecipe),
    "random": (RANDOM, RandomRecipe),
    "evolution": (EVOLUTION, EvolutionRecipe),
    "ppo": (PPO, PpoRecipe),
    "cosearch": (COSEARCH, CosearchRecipe),
    "gas": (GAS, GasRecipe),
}


@dataclass(frozen=True)
class Drawn:
    """A frame that is drawn once for all tests, which takes longer than a step of a search."""

    frame: Frame

    @property
    def name(self) -> str:
        return self.frame.name

    def load(self) -> tuple[UInt8, Array]:
        return _loaded(self.frame)

    def digest(self) -> bytes:
        return self.frame.digest()

    def faults(self, size: Size, *, decode: bool) -> list[str]:
        return []


@cache
def _loaded(frame: Frame) -> tuple[UInt8, Array]:
    return frame.load()


def recipe(strategy: str = "gumbel", **changes: Any) -> Any:
    """The tiny one of a strategy with other values."""
    text, kind = _RECIPES[strategy]
    return parse_document(yaml.safe_load(text) | changes, "tiny.yaml", kind, InvalidRecipe)


def drawn_data(frames: int = 6, task: str = "segmentation") -> Data:
    """Scenes of 64x64."""
    data = open_data(f"synthetic:{frames}:64x64", task)
    return replace(data, splits={name: tuple(map(Drawn, split)) for name, split in data.splits.items()})


def costs_of(space: SearchSpace, outputs: int = 19, task: str = "segmentation") -> SpaceCosts:
    """By the Xavier's prior at 64x128."""
    target = load_target(TARGET)
    model = CostModel(target.name, prior=find_prior(target))
    return space_costs(model, space, SIZE, HEADS[task](outputs))


def problem(
    mix: str = "latency",
    budget: str | None = None,
    frames: int = 6,
    *,
    strategy: str = "gumbel",
    space: SearchSpace = FIVE,
    task: str = "segmentation",
    **changes: Any,
) -> SearchProblem:
    """A search of the five positions on drawn scenes.

    Args:
        task: of the scenes.
        changes: of the tiny recipe.
    """
    data, loaded = drawn_data(frames, task), recipe(strategy, **changes).for_task(task)
    return SearchProblem(
        space=space,
        task=rewarded(TASKS[task], STRATEGIES[strategy].reward(loaded)),
        data=data,
        costs=costs_of(space, len(data.tells), task),
        target=TARGET,
        mix=Mix.parse(mix),
        budget=Budget.parse(budget) if budget else None,
        strategy=strategy,
        recipe=loaded,
        resolution=SIZE,
        data_spec=f"synthetic:{frames}:64x64",
    )


def with_budget(wanted: SearchProblem, share: float) -> SearchProblem:
    """A limit on the latency, ``share`` of the way from the cheapest network to the dearest."""
    least, most = wanted.costs.range("latency")
    return replace(wanted, budget=Budget("latency", least + share * (most - least), "ms"))


class Log:
    """Keeps what a search says of itself; Ctrl-C after so many steps, or so many judged networks."""

    def __init__(self, stop_after: int | None = None, *, stop_judging: int | None = None) -> None:
        self.steps: list[Progress] = []
        self.judgements: list[Judged] = []
        self._stop_after, self._stop_judging = stop_after, stop_judging

    def begin(self, title: str, total: int, done: int = 0) -> None:
        pass

    def step(self, now: Progress) -> None:
        self.steps.append(now)
        if self._stop_after is not None and len(self.steps) >= self._stop_after:
            raise KeyboardInterrupt

    def judged(self, network: Judged, count: int) -> None:
        self.judgements.append(network)
        if self._stop_judging is not None and len(self.judgements) >= self._stop_judging:
            raise KeyboardInterrupt

    @property
    def losses(self) -> list[float]:
        """One a step."""
        return [now.values["loss"] for now in self.steps]


def same(one: Any, other: Any) -> bool:
    """Of nested plain data; what is not known is alike."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)
