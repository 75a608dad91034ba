"""Pose: where the key points of a person are, by a heat map for each."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from search.data.frames import Data, Frames
from search.errors import InvalidData, InvalidRecipe
from search.networks.graph_module import GraphModule
from search.parallel.ranks import Ranks
from search.spaces.camera import peaks_graph, pose_head
from search.spaces.space import Head
from search.tasks.pose_losses import HeatMapLoss, heat_map_distance
from search.tasks.pose_metrics import PointCounts
from search.tasks.pose_recipe import USUAL_WEIGHT
from search.tasks.task import Scores
from search.tasks.words import WORDS

_WORDS = WORDS["pose"]


class PoseMeter:
    """Right points, and distances.

    Args:
        data: whose key points are told.
    """

    def __init__(self, data: Data) -> None:
        self.counts = PointCounts(data.truth.names, getattr(data.truth, "unscored", ()))

    def add(self, predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
        """Points (N, points, 3) and truth (N, points + 1, 3), see ``search.data.key_points``."""
        self.counts.add(truth, predicted)

    def merge(self, ranks: Ranks) -> None:
        """Add up the counts of all processes."""
        self.counts.sums = ranks.sum(torch.from_numpy(self.counts.sums).to(ranks.device)).cpu().numpy()

    def scores(self) -> Scores:
        """Over all points that count."""
        return self.counts.scores()

    def details(self) -> dict[str, dict[str, float | None]]:
        """Of each point by its name."""
        return self.counts.details()


class Pose:
    """See ``Task``."""

    name = "pose"
    columns = tuple(column.name for column in _WORDS.columns)
    primary, title, unit = _WORDS.primary.name, _WORDS.primary.title, _WORDS.primary.unit

    def __init__(self) -> None:
        self._peaks = GraphModule(peaks_graph(1))

    def head(self, data: Data) -> Head:
        """A heat map for each key point, deployed as the place where it is highest."""
        return pose_head(len(data.truth.names))

    def loss(self, settings: Any, frames: Frames, outputs: int, ranks: Ranks) -> HeatMapLoss:
        """Difference to Gaussians around the points. Raises InvalidRecipe for data of other points."""
        if len(frames.truth.names) != outputs:
            raise InvalidRecipe(
                f"the network has {outputs} heat maps, and the data {len(frames.truth.names)} key points; "
                "allowed: as many"
            )
        return HeatMapLoss(settings.sigma, settings.weight, ranks)

    def distance(self, last: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Half the mean squared difference of heat maps, weighted as the loss usually is."""
        return heat_map_distance(last, taught, USUAL_WEIGHT)

    def truth_at(self, truth: Tensor, size: tuple[int, int]) -> Tensor:
        """As it is: points are told by their picture, whatever the size of maps."""
        return truth

    def predict(self, last: Tensor, size: tuple[int, int]) -> Tensor:
        """Points (N, points, 3) in pixels of images of a size (h, w), with the height of each map."""
        found: Tensor = self._peaks(last.float())
        height, width = last.shape[2:]
        stride = found.new_tensor([size[1] / width, size[0] / height, 1])
        shift = found.new_tensor([0.5, 0.5, 0])
        return (found + shift) * stride - shift

    def meter(self, data: Data) -> PoseMeter:
        """Counts points by name."""
        return PoseMeter(data)

    def reward(self, scores: Mapping[str, float | None]) -> float:
        """Share of right points, 0..1. Raises InvalidData where none was scored."""
        found = scores[self.primary]
        if found is None:
            raise InvalidData("nothing to score: no validation frame has a key point, and a head's size")
        return found / 100

    def score_of(self, reward: float) -> float:
        """In percent."""
        return _WORDS.of_reward(reward)

    def shown(self, reward: float) -> str:
        """In percent."""
        return f"{self.title} {self.score_of(reward):.1f} {self.unit}"
