"""Losses against PyTorch's own and against counting by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from search.data import Frames
from search.errors import InvalidData
from search.tasks.segmentation_losses import inverse_log_weights, segmentation_loss, teacher_divergence
from search.tasks.segmentation_recipe import Ohem


def batch(images: int = 2, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(images, classes, 6, 8, generator=generator, requires_grad=True)
    labels = torch.randint(0, classes, (images, 6, 8), generator=generator)
    labels[0, :3] = 255
    return logits, labels


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5, 4.0, 1.5])])
def test_cross_entropy_is_pytorchs(weights: torch.Tensor | None) -> None:
    logits, labels = batch()
    expected = functional.cross_entropy(logits, labels, weight=weights, ignore_index=255)
    found = segmentation_loss("cross_entropy", weights)(logits, labels)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    (gradient,) = torch.autograd.grad(found, logits)
    (wanted,) = torch.autograd.grad(expected, logits)
    assert torch.allclose(gradient, wanted, atol=1e-8)


def test_no_label_at_all_costs_nothing() -> None:
    logits, labels = batch()
    for kind in ("cross_entropy", "ohem"):
        loss = segmentation_loss(kind)(logits, torch.full_like(labels, 255))
        assert float(loss.detach()) == 0
        loss.backward()
        assert logits.grad is not None
        assert not logits.grad.any()


def test_hard_pixels_are_those_under_the_threshold() -> None:
    logits, labels = batch()
    single = functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    kept = single[(labels != 255) & (single > -math.log(0.3))]
    assert 0 < len(kept) < (labels != 255).sum()
    found = segmentation_loss("ohem", threshold=0.3, min_kept=1e-6)(logits, labels)
    assert float(found.detach()) == pytest.approx(float(kept.detach().mean()), rel=1e-6)


def test_the_hardest_of_the_batch_are_kept_anyway() -> None:
    logits, labels = batch()
    single = functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    kept = single[labels != 255].topk(24).values  # a quarter of 96 pixels, of which 24 have no label
    found = segmentation_loss("ohem", threshold=1e-9, min_kept=0.25)(logits, labels)
    assert float(found.detach()) == pytest.approx(float(kept.detach().mean()), rel=1e-6)


def test_where_fewer_are_labelled_all_are_kept() -> None:
    logits, labels = batch()
    labels[1] = 255
    found = segmentation_loss("ohem", threshold=1e-9, min_kept=0.25)(logits, labels)
    expected = functional.cross_entropy(logits, labels, ignore_index=255)  # of 24 pixels
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    labels[0, 3, 0] = 255
    found = segmentation_loss("ohem", threshold=1e-9, min_kept=0.25)(logits, labels)
    expected = functional.cross_entropy(logits, labels, ignore_index=255)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize(
    ("pixels", "kept"),
    [((3, 256 // 8, 512 // 8), 384), ((2, 224 // 8, 448 // 8), 196), ((12, 64, 128), 12 * 64 * 128 // 16)],
)
def test_the_usual_share_is_fastersegs(pixels: tuple[int, int, int], kept: int) -> None:
    """In its search, whose loss is taken at 1/8 of the size, and in its training."""
    logits = torch.zeros(pixels[0], 2, *pixels[1:], dtype=torch.float64)
    logits[:, 1] = torch.linspace(0, 20, math.prod(pixels)).view(pixels)
    logits.requires_grad_()
    usual = Ohem(kind="ohem")
    loss = segmentation_loss("ohem", threshold=1e-9, min_kept=usual.min_kept)
    loss(logits, torch.zeros(pixels, dtype=torch.int64)).backward()
    assert logits.grad is not None
    assert int(logits.grad[:, 1].count_nonzero()) == kept


@pytest.mark.parametrize("wrong", [5, 254, -1])
def test_labels_out_of_range(wrong: int) -> None:
    logits, labels = batch()
    labels[1, 2, 3] = wrong
    with pytest.raises(InvalidData, match=f"label {wrong} in the data; allowed: 0 to 4, and 255"):
        segmentation_loss()(logits, labels)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_from_the_teacher_is_a_mean_over_pixels(temperature: float) -> None:
    logits, _ = batch()
    taught = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    own, wanted = (each.detach().double().numpy() / temperature for each in (logits, taught))
    p, q = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (wanted, own))
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    found = teacher_divergence(logits, taught, temperature)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(found, logits)
    by_hand = torch.from_numpy(temperature * (q - p)) / (2 * 6 * 8)
    assert torch.allclose(gradient.double(), by_hand, atol=1e-7)
    assert float(teacher_divergence(logits, logits).detach()) == pytest.approx(0, abs=1e-6)


class Drawn:
    name = "drawn"

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((*self._labels.shape, 3), np.uint8), self._labels

    def faults(self, size: tuple[int, int], *, decode: bool) -> list[str]:
        return []


def test_rare_classes_weigh_more() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[0], labels[1] = 1, 255
    weights = inverse_log_weights(Frames((Drawn(labels), Drawn(labels))), 3)
    expected = [1 / math.log(1.02 + share) for share in (80 / 90, 10 / 90, 0)]
    assert weights == pytest.approx(expected, rel=1e-6)
