"""Batches for PyTorch: worker processes, several ranks, and the same batches whatever their number.

What a batch holds depends on the seed, the epoch and its number alone, so that training can stop and go on
anywhere, and W ranks of N images see what one process with W * N images sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from search.data.augmentation import Augmentation
from search.data.frames import Frames, Size, UInt8
from search.data.truth import Array
from search.data.worker_batches import batch_loader, handed_over, loaded
from search.errors import InvalidData
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["Augmentation", "Batch", "EvalLoader", "TrainLoader", "eval_loader", "train_loader"]

Batch = tuple[Tensor, Tensor]  # images (N, 3, H, W) float32, truth (N, ...): int64 where it is of bytes
_MEAN, _STD = (255 * torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))


def train_loader(
    frames: Frames,
    augmentation: Augmentation,
    *,
    batch_size: int,
    workers: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    steps: int | None = None,
) -> "TrainLoader":
    """Augmented batches in random order; frames that fill no whole batch wait for another turn.

    Args:
        batch_size: images of one rank.
        steps: batches of an epoch, in which frames then have several turns or not one; as many as the frames
            fill when None.
        workers: processes that read and augment; they live as long as the loader. 0: none.
        rank, world_size: this process among all; of each common batch it gets the ``rank``-th slice.

    Raises:
        InvalidData: fewer frames than one batch of all ranks.
    """
    together = batch_size * world_size
    if len(frames) < together:
        raise InvalidData(
            f"{len(frames)} training frames are fewer than a batch of {together}; lower the batch size"
        )
    plan = _Plan(steps or len(frames) // together, len(frames), batch_size, seed, rank, world_size)
    return TrainLoader(plan, _Augmented(frames, augmentation, seed), workers)


def eval_loader(
    frames: Frames,
    *,
    batch_size: int,
    workers: int,
    size: Size | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> "EvalLoader":
    """All frames in order; rank r of W takes the r-th, the (W + r)-th and so on.

    Args:
        size: to which images are resized (height, width); as they are when left out. Truth stays as it is.
    """
    mine = range(rank, len(frames), world_size)
    batches = [list(mine[first : first + batch_size]) for first in range(0, len(mine), batch_size)]
    return EvalLoader(batches, _Whole(frames, size), workers)


class TrainLoader:
    """Batches of each epoch, see `train_loader`. Its workers end with it."""

    def __init__(self, plan: "_Plan", batches: "_Augmented", workers: int) -> None:
        self._plan, self._begun = plan, 0
        self._loader = batch_loader(batches, plan, workers, stay=True)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._plan)

    def epoch(self, number: int, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from one of them on.

        Images are (N, 3, H, W) float32, normalised by ImageNet's statistics; truth (N, ...) is
        int64 where it is of bytes, as class indices are, else as it is.
        One epoch at a time: a new one ends the one before. Raises InvalidData: a frame cannot be used;
        LostWorker: a process that loads is gone.
        """
        self._plan.epoch, self._plan.start = number, start_batch
        self._begun = begun = self._begun + 1
        for batch in _finished(self._loader):
            yield batch
            if begun != self._begun:
                return  # what comes now is the other epoch's: workers have one queue


class EvalLoader:
    """Batches of whole frames, see `eval_loader`; iterate as often as you like."""

    def __init__(self, batches: Sequence[list[int]], whole: "_Whole", workers: int) -> None:
        self._batches, self._whole, self._workers = batches, whole, workers

    def __len__(self) -> int:
        """Batches of this rank."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return _finished(batch_loader(self._whole, self._batches, self._workers, stay=False))


@dataclass
class _Plan:
    """Which frames stand in which batch: the batches of ``epoch`` from ``start`` on, for one rank."""

    steps: int
    frames: int
    batch_size: int
    seed: int
    rank: int
    world_size: int
    epoch: int = field(default=0, init=False)
    start: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """Of each batch which turn of all frames it is part of, counted over all epochs, and its frames."""
        first, end = self.epoch * self.steps + self.start, (self.epoch + 1) * self.steps
        filled = self.frames // (self.batch_size * self.world_size)
        for turn in range(first // filled, -(-end // filled)):
            order = np.random.default_rng([self.seed, turn]).permutation(self.frames)
            for batch in range(max(first, turn * filled), min(end, (turn + 1) * filled)):
                place = ((batch - turn * filled) * self.world_size + self.rank) * self.batch_size
                yield turn, order[place : place + self.batch_size].tolist()


@dataclass(frozen=True)
class _Augmented(Dataset[Any]):
    """By turn of all frames and their numbers: a batch. What a worker does; it keeps nothing in between."""

    frames: Frames
    augmentation: Augmentation
    seed: int

    def __getitem__(self, key: tuple[int, list[int]]) -> list[Any] | InvalidData:
        turn, indices = key
        try:
            return _batch([self._sample(turn, index) for index in indices])
        except InvalidData as error:
            return error  # raised on the other side: PyTorch would bury its line under a worker's traceback

    def _sample(self, turn: int, index: int) -> tuple[UInt8, Array]:
        # One more than the index: numpy takes [seed, turn, 0] for [seed, turn], which orders the frames.
        rng = np.random.default_rng([self.seed, turn, index + 1])
        return self.augmentation.apply(*self.frames[index], rng, self.frames.truth)


@dataclass(frozen=True)
class _Whole(Dataset[Any]):
    """By numbers of frames: a batch."""

    frames: Frames
    size: Size | None

    def __getitem__(self, indices: list[int]) -> list[Any] | InvalidData:
        try:
            return _batch([self._sample(index) for index in indices])
        except InvalidData as error:
            return error

    def _sample(self, index: int) -> tuple[UInt8, Array]:
        image, truth = self.frames[index]
        if self.size is not None:
            width_height = self.size[::-1]
            image = np.asarray(Image.fromarray(image).resize(width_height, Image.Resampling.BILINEAR))
        return image, truth


def _batch(samples: Sequence[tuple[UInt8, Array]]) -> list[Any]:
    """Bytes still: they travel from a worker in a fifth of the time. Raises InvalidData for several sizes."""
    if len({(image.shape, truth.shape) for image, truth in samples}) > 1:
        raise InvalidData("frames that differ in size cannot stand in one batch; allowed: batches of one")
    images = torch.from_numpy(np.stack([image for image, _ in samples]))
    truths = torch.from_numpy(np.stack([truth for _, truth in samples]))
    return handed_over([images.permute(0, 3, 1, 2).contiguous(), truths])


def _finished(loader: DataLoader[Any]) -> Iterator[Batch]:
    for images, truth in loaded(loader):
        told = truth.to(torch.int64) if truth.dtype == torch.uint8 else truth
        yield images.to(torch.float32).sub_(_MEAN).div_(_STD), told
