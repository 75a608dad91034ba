"""How accurate a path through the supernet is: what ranks networks after a search."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from search.architecture import architecture_for
from search.data.frames import Data, Frames
from search.data.loaders import Augmentation, eval_loader, train_loader
from search.networks.network import Network
from search.parallel.ranks import Ranks
from search.spaces.space import Genotype, SearchSpace
from search.tasks.evaluation import evaluate_network
from search.tasks.task import Task


@dataclass(frozen=True)
class Judgement:
    """By what paths are judged.

    Attributes:
        frames: of the validation split, evenly spread; all when None.
        calibration_batches: of training frames, by which each path gets batch statistics of its own.
        crop, batch_size, seed: of those batches.
    """

    frames: int | None
    calibration_batches: int
    crop: tuple[int, int]
    batch_size: int
    seed: int


class PathJudge:
    """Takes paths out of a supernet of a space and evaluates them on validation frames.

    A path's own batch statistics differ from those that the supernet gathered, where every block's input is a
    mixture; they are gathered anew on a few batches of training frames (as in BigNAS, arXiv:2003.11142).

    Args:
        extract: gives the state dict of a path as it is at present.
    """

    def __init__(
        self,
        space: SearchSpace,
        extract: Callable[[Genotype], Mapping[str, Tensor]],
        task: Task,
        data: Data,
        by: Judgement,
        ranks: Ranks,
    ) -> None:
        self._space, self._extract = space, extract
        self._task, self._data, self._ranks = task, data, ranks
        self._frames = eval_loader(
            spread(data.frames("val"), by.frames),
            batch_size=1,
            workers=0,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        loader = train_loader(
            data.frames("train"),
            Augmentation(by.crop, (1.0, 1.0), False, 0.0),
            batch_size=by.batch_size,
            workers=0,
            seed=by.seed,
        )
        batches = zip(range(by.calibration_batches), loader.epoch(0), strict=False)
        self._calibration = [images for _, (images, _) in batches]

    @torch.no_grad()
    def score(self, genotype: Genotype) -> float:
        """The task's reward of a path; the same in every process."""
        architecture = architecture_for(self._space, genotype, self._data, name="path")
        network = Network(architecture).to(self._ranks.device)
        network.load_state_dict(self._extract(genotype))
        self._calibrate(network)
        meter = self._task.meter(self._data)
        evaluate_network(network, self._frames, self._task, meter, self._ranks)
        return self._task.reward(meter.scores())

    def _calibrate(self, network: nn.Module) -> None:
        if not self._calibration:
            return
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # a plain mean over the batches
        network.train()
        for images in self._calibration:
            network(images.to(self._ranks.device))


def spread(frames: Frames, count: int | None) -> Frames:
    """``count`` of the frames, evenly spread over them; all of them when None."""
    if count is None or count >= len(frames):
        return frames
    return frames.subset(np.linspace(0, len(frames) - 1, count).round().astype(int).tolist())
