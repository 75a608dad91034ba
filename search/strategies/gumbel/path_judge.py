"""How accurate a path through the supernet is: what ranks networks after a search."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from search.architecture import Architecture
from search.data.frames import Data, Frames
from search.data.loaders import Augmentation, eval_loader, train_loader
from search.networks.segmentation import SegmentationNetwork
from search.parallel.ranks import Ranks
from search.spaces.chain import ChainSpace
from search.strategies.gumbel.recipe import SearchRecipe
from search.supernet import Supernet
from search.tasks.segmentation_evaluation import evaluate_network
from search.tasks.segmentation_metrics import mean_iou


class PathJudge:
    """Takes paths out of a supernet and evaluates them on validation frames.

    A path's own batch statistics differ from those that the supernet gathered, where every block's input is a
    mixture; they are gathered anew on a few batches of training frames (as in BigNAS, arXiv:2003.11142).
    """

    def __init__(
        self, supernet: Supernet, space: ChainSpace, data: Data, recipe: SearchRecipe, ranks: Ranks
    ) -> None:
        self._supernet, self._space, self._recipe, self._ranks = supernet, space, recipe, ranks
        self._classes = data.num_classes
        frames = spread(data.frames("val"), recipe.judging.frames)
        self._frames = eval_loader(
            frames, batch_size=1, workers=0, rank=ranks.rank, world_size=ranks.world_size
        )
        augmentation = Augmentation(recipe.crop, (1.0, 1.0), False, 0.0)
        loader = train_loader(
            data.frames("train"), augmentation, batch_size=recipe.batch_size, workers=0, seed=recipe.seed
        )
        batches = zip(range(recipe.judging.calibration_batches), loader.epoch(0), strict=False)
        self._calibration = [images for _, (images, _) in batches]

    @torch.no_grad()
    def miou(self, blocks: Sequence[str]) -> float:
        """Mean IoU of a path, 0..1; the same in every process."""
        architecture = Architecture(
            space=self._space.name, blocks=list(blocks), num_classes=self._classes, name="path"
        )
        network = SegmentationNetwork(architecture).to(self._ranks.device)
        network.load_state_dict(self._supernet.extract(blocks))
        self._calibrate(network)
        confusion = evaluate_network(network, self._frames, self._classes, self._ranks)
        return mean_iou(confusion)

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
