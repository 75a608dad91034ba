"""A trained network that another one learns from, beside the labels (distillation, arXiv:1503.02531)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from search.architecture import Architecture
from search.errors import InvalidArchitecture, InvalidWeights
from search.networks.network import build_network
from search.parallel.ranks import Ranks
from search.tasks.task import Task
from search.training.recipe import Distillation
from targets.support.files import sha256


@dataclass(frozen=True)
class Teacher:
    """Attributes: ``network``, with trained weights; ``weights_sha256``, of the file that they are from."""

    architecture: Architecture
    network: nn.Module
    weights_sha256: str

    @property
    def about(self) -> dict[str, str]:
        """What is kept with the weights that it taught."""
        return {"name": self.architecture.name, "weights_sha256": self.weights_sha256}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What must be the same to go on from a checkpoint."""
        chosen = list(self.architecture.genotype.values())
        return {**self.about, "space": self.architecture.space, "blocks": chosen}


def load_teacher(architecture: Architecture, student: Architecture) -> Teacher:
    """An architecture with its own weights, of any space, as the teacher of another.

    Raises:
        InvalidArchitecture: it is for another task or other classes, or those in another order.
        InvalidWeights: it names no weights, or a file that is not there, not readable or of another network.
    """
    name = architecture.name
    if architecture.task != student.task:
        raise InvalidArchitecture(
            f"the teacher {name} is for {architecture.task}; allowed: networks for {student.task}"
        )
    known, wanted = architecture.tells, student.tells
    if known != wanted:
        one, what = ("class", "classes") if architecture.labels else ("key point", "key points")
        apart, parting = " apart" * (one == "class"), _parting(known, wanted, one, what)
        raise InvalidArchitecture(f"the teacher {name} tells other {what}{apart}: {parting}")
    if architecture.weights_path is None:
        raise InvalidWeights(
            f"the teacher {name} has no weights; allowed: an architecture whose file names its own "
            "(weights:), as train writes it into its folder"
        )
    network = build_network(architecture, architecture.weights_path)
    return Teacher(architecture, network, sha256(architecture.weights_path))


class TeacherLoss:
    """What a network pays, in training, for differing from its teacher.

    Args:
        teacher: is moved to the ranks' device; stays in evaluation mode.
    """

    def __init__(self, teacher: Teacher, task: Task, how: Distillation, ranks: Ranks) -> None:
        network = teacher.network.eval().requires_grad_(False)
        self._network = network.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._distance, self._how = task.distance, how

    @torch.no_grad()
    def taught(self, images: Tensor) -> Tensor:
        """The teacher's last map of a batch of images (N, 3, H, W), of the size of the network's own."""
        last: Tensor = self._network(images)
        return last

    def __call__(self, last: Tensor, taught: Tensor) -> Tensor:
        """A scalar whose mean over the processes is that of the whole batch."""
        return self._how.coefficient * self._distance(last, taught, self._how.temperature)


def _parting(known: Sequence[str], wanted: Sequence[str], one: str, what: str) -> str:
    """Where two lists part that are not equal; ``one``, ``what``: of what they are."""
    pairs = enumerate(zip_longest(known, wanted, fillvalue="none"))
    index, (its, data) = next((index, pair) for index, pair in pairs if pair[0] != pair[1])
    order = ", in another order" if sorted(known) == sorted(wanted) else ""
    return (
        f"{len(known)}, and the data {len(wanted)}{order}; {one} {index} is {its} there and {data} in the "
        f"data; allowed: one that was trained for the same {what} in the same order"
    )
