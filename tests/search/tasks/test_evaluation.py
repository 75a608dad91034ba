"""What meters count of networks."""

import numpy as np
import torch
from torch import Tensor, nn

from search.data import Data
from search.data.loaders import eval_loader
from search.networks.network import build_network
from search.tasks.evaluation import evaluate_network
from search.tasks.segmentation import Segmentation, SegmentationMeter
from search.tasks.segmentation_metrics import confusion_matrix

from ..training.helpers import ARCHITECTURE

TASK = Segmentation()


def three_classes() -> SegmentationMeter:
    return SegmentationMeter(["one", "two", "three"])


class Brightest(nn.Module):
    """Class of a pixel is its largest channel; at half the size where told so."""

    def __init__(self, step: int = 1) -> None:
        super().__init__()
        self._step = step
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        return images[:, :, self._step // 2 :: self._step, self._step // 2 :: self._step] * self.scale


def test_pixels_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (5, 8, 8), generator=generator)
    labels[:, 0] = 255
    network, done = Brightest(), []
    batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]
    meter = three_classes()
    found = evaluate_network(network, batches, TASK, meter, on_batch=done.append)
    assert found is meter
    assert np.array_equal(found.counts, confusion_matrix(labels.numpy(), images.argmax(1).numpy(), 3))
    assert done == [3, 2]
    assert network.training


def test_coarser_classes_are_spread_to_the_nearest_pixels() -> None:
    images = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (1, 9, 9), generator=torch.Generator().manual_seed(1))
    found = evaluate_network(Brightest(step=3), [(images, labels)], TASK, three_classes())
    middle = images[:, :, 1::3, 1::3].argmax(1)
    spread = middle.repeat_interleave(3, 1).repeat_interleave(3, 2)
    assert np.array_equal(found.counts, confusion_matrix(labels.numpy(), spread.numpy(), 3))


def test_every_frame_of_a_split_is_counted(scenes: Data) -> None:
    torch.manual_seed(0)
    frames = scenes.frames("val")
    network = build_network(ARCHITECTURE)
    one, two = (
        evaluate_network(
            network,
            eval_loader(frames, batch_size=size, workers=0),
            TASK,
            SegmentationMeter(scenes.class_names),
        )
        for size in (1, 2)
    )
    assert np.array_equal(one.counts, two.counts)
    assert one.counts.sum() == sum((frames[index][1] != 255).sum() for index in range(len(frames)))
