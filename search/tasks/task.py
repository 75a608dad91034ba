"""What a network is for: how it ends, what it is trained by, how its accuracy is told."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from search.data.frames import Data, Frames
from search.errors import InvalidRecipe
from search.parallel.ranks import Ranks
from search.spaces.space import Head
from targets.support.text import near_miss

Scores = dict[str, float | None]
Loss = Callable[[Tensor, Tensor], Tensor]
"""From a network's last map (N, outputs, H, W) and the truth to a scalar whose mean over the processes is the
loss of the whole batch, with the gradients that DistributedDataParallel takes."""


class Meter(Protocol):
    """Counts, frame by frame, how right predictions are."""

    def add(self, predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
        """Take a frame or a batch in: what is deployed gives, at the truth's size, and the truth."""

    def merge(self, ranks: Ranks) -> None:
        """Afterwards every process has the counts of all."""

    def scores(self) -> Scores:
        """By the names of ``Task.columns``; None where there was nothing to score."""

    def details(self) -> dict[str, dict[str, float | None]]:
        """What the scores are made of, such as ``iou_percent`` by class."""


class Task(Protocol):
    """A kind of work. ``search.tasks.segmentation`` is the first.

    Attributes:
        name: as architectures say it.
        columns: names of scores, in the order of tables.
        primary, title, unit: the score that tells which network is better, and its name and unit for people.
    """

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def primary(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def unit(self) -> str: ...

    def head(self, data: Data) -> Head:
        """How a network for that data ends."""

    def loss(self, settings: Any, frames: Frames, outputs: int, ranks: Ranks) -> Loss:
        """What a recipe describes. Raises InvalidRecipe where it does not fit the outputs.

        Args:
            frames: of training, from which weights of classes may be counted.
        """

    def distance(self, last: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """How far a network's last map is from its teacher's, both (N, outputs, H, W).

        A scalar whose mean over the processes is that of the whole batch.

        Args:
            temperature: above 1 it is the teacher's ranking of what is unlikely that counts, too.
        """

    def truth_at(self, truth: Tensor, size: tuple[int, int]) -> Tensor:
        """Truth of a batch for last maps of another size (h, w)."""

    def predict(self, last: Tensor, size: tuple[int, int]) -> Tensor:
        """What a deployed network gives back, of its last map (N, outputs, H, W), for frames of (h, w)."""

    def meter(self, data: Data) -> Meter:
        """One that has counted nothing yet."""

    def reward(self, scores: Mapping[str, float | None]) -> float:
        """One number, 0..1, higher is better: mIoU. Raises InvalidData where there is none."""

    def score_of(self, reward: float) -> float:
        """The primary score, or of a task with another reward that, in its unit."""

    def shown(self, reward: float) -> str:
        """A reward for people: ``mIoU 58.3 %``."""


def nearest(truth: Tensor, size: tuple[int, int]) -> Tensor:
    """Truth a pixel, (N, H, W), at another size: of each pixel that of the nearest."""
    resized = functional.interpolate(truth[:, None].float(), size=size, mode="nearest")
    return resized[:, 0].to(truth.dtype)


@runtime_checkable
class HasRewards(Protocol):
    """A task whose networks can be compared by other numbers than its primary score."""

    @property
    def rewards(self) -> Mapping[str, Task]:
        """The same task with another reward, by the reward's name."""


def rewarded(task: Task, reward: str | None) -> Task:
    """The task with a reward by name; with its own when None. Raises InvalidRecipe where it has none such."""
    if reward is None:
        return task
    known = task.rewards if isinstance(task, HasRewards) else {}
    if reward not in known:
        raise InvalidRecipe(
            f"scoring.reward: found {reward!r}{near_miss(reward, known)}; allowed for {task.name}: "
            f"{', '.join([*known, 'null, for its own'])}"
        )
    return known[reward]
