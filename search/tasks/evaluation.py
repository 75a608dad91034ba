"""How right a network is on labelled frames."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from search.parallel.ranks import Ranks
from search.tasks.task import Meter, Task


def evaluate_network(
    module: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    meter: Meter,
    ranks: Ranks | None = None,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> Meter:
    """The meter, with what a network in evaluation mode gave.

    Args:
        loader: images (N, 3, H, W), normalised, and the truth of each.
        ranks: processes that have a share of the frames each; all get the sum.
        on_batch: told how many frames were done, after each batch.
    """
    device = ranks.device if ranks else next(iter(module.parameters())).device
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            for images, truth in loader:
                last = module(images.to(device, memory_format=torch.channels_last))
                height, width = images.shape[-2:]
                meter.add(task.predict(last, (height, width)).cpu().numpy(), truth.numpy())
                if on_batch:
                    on_batch(len(images))
    finally:
        module.train(was_training)
    if ranks:
        meter.merge(ranks)
    return meter
