"""How right a network is on labelled frames."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.parallel.ranks import Ranks
from search.tasks.segmentation_metrics import Counts, confusion_matrix


def evaluate_network(
    module: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    ranks: Ranks | None = None,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> Counts:
    """Confusion matrix (num_classes, num_classes) of a network in evaluation mode.

    Args:
        loader: images (N, 3, H, W), normalised, and labels (N, h, w). Where the sizes differ, classes are
            given to pixels at (H, W) and each labelled pixel takes that of the nearest one, as a deployed
            network does it.
        ranks: processes that have a share of the frames each; all get the sum.
        on_batch: told how many frames were done, after each batch.
    """
    device = ranks.device if ranks else next(iter(module.parameters())).device
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            for images, labels in loader:
                inputs = images.to(device, memory_format=torch.channels_last)
                classes = module(inputs).argmax(1)
                if classes.shape != labels.shape:
                    classes = _nearest(classes, labels)
                found = confusion_matrix(labels.numpy(), classes.cpu().numpy(), num_classes)
                counts += torch.from_numpy(found)
                if on_batch:
                    on_batch(len(images))
    finally:
        module.train(was_training)
    total: Counts = (ranks.sum(counts.to(device)) if ranks else counts).cpu().numpy()
    return total


def _nearest(classes: Tensor, labels: Tensor) -> Tensor:
    height, width = labels.shape[-2:]
    resized = functional.interpolate(classes[:, None].float(), size=(height, width), mode="nearest-exact")
    return resized[:, 0].long()
