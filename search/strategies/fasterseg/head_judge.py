"""How right the heads of a grid's supernet are on whole validation frames."""

import torch
from torch import Tensor
from torch.nn import functional

from search.data.frames import Data
from search.data.loaders import eval_loader
from search.parallel.ranks import Ranks
from search.supernet.fasterseg.supernet import PREDICTIONS, GridSupernet
from search.supernet.fasterseg.widths import MapWidths
from search.supernet.path_judge import spread
from search.tasks.task import Task

HEADS = {1: "second + third", 0: "first + third"}
"""Scale at which a fine branch ends -> the head on its last map and the deep branch's."""


class HeadJudge:
    """Evaluates a supernet as it is, on frames of any size.

    Args:
        frames: how many of the validation split, evenly spread; all when None.
    """

    def __init__(
        self, supernet: GridSupernet, task: Task, data: Data, frames: int | None, ranks: Ranks
    ) -> None:
        self._supernet, self._task, self._data, self._ranks = supernet, task, data, ranks
        self._frames = eval_loader(
            spread(data.frames("val"), frames),
            batch_size=1,
            workers=0,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )

    @torch.inference_mode()
    def scores(self, learner: str, widths: MapWidths) -> dict[int, float]:
        """The task's reward of the heads ``HEADS``, by their keys; the same in every process."""
        meters = {scale: self._task.meter(self._data) for scale in HEADS}
        self._supernet.eval()
        for images, truth in self._frames:
            found = self._predictions(images.to(self._ranks.device), learner, widths)
            height, width = images.shape[-2:]
            for scale, meter in meters.items():
                meter.add(self._task.predict(found[scale], (height, width)).cpu().numpy(), truth.numpy())
        for meter in meters.values():
            meter.merge(self._ranks)
        return {scale: self._task.reward(meter.scores()) for scale, meter in meters.items()}

    def _predictions(self, images: Tensor, learner: str, widths: MapWidths) -> dict[int, Tensor]:
        """As a derived network gives them: filled up to sides that the last scale divides, resized, cut."""
        height, width = images.shape[-2:]
        last = self._supernet.grid.scales[-1]
        filled = functional.pad(images, (0, -width % last, 0, -height % last))
        own = dict(zip(PREDICTIONS, self._supernet(filled, learner, widths), strict=True))
        size = filled.shape[-2:]
        resized = {
            scale: functional.interpolate(own[name], size=size, mode="bilinear", align_corners=True)
            for scale, name in HEADS.items()
        }
        return {scale: logits[..., :height, :width] for scale, logits in resized.items()}
