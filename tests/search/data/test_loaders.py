"""Batches: the same whatever the workers and ranks, from anywhere on, and nothing is left behind."""

import gc
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from search.data import Augmentation, open_data
from search.data.classes import IGNORE
from search.data.loaders import Batch, eval_loader, train_loader
from search.errors import InvalidData
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD

from .packagings import camvid_tutorial, write

DATA = open_data("synthetic:14:64x64")
FRAMES = DATA.frames("train")
VARIED = Augmentation((32, 48), (0.5, 2.0), flip=True, colour=0.3)
SETTINGS: dict[str, Any] = {"batch_size": 4, "workers": 0, "seed": 3}


def same(first: Iterable[Batch], second: Iterable[Batch]) -> bool:
    return all(
        torch.equal(images, others) and torch.equal(labels, other_labels)
        for (images, labels), (others, other_labels) in zip(first, second, strict=True)
    )


def test_batches_are_what_the_contract_says() -> None:
    loader = train_loader(FRAMES, VARIED, **SETTINGS)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 3  # the two frames that are left wait for another epoch
    for images, labels in batches:
        assert (images.shape, images.dtype) == ((4, 3, 32, 48), torch.float32)
        assert (labels.shape, labels.dtype) == ((4, 32, 48), torch.int64)
        assert images.is_contiguous()
        assert labels.max() == IGNORE or labels.max() < 19


def test_images_are_normalised() -> None:
    plain = Augmentation((64, 64))
    ((images, labels),) = train_loader(FRAMES.subset([5]), plain, batch_size=1, workers=0, seed=0).epoch(0)
    image, marks = FRAMES[5]
    expected = (image / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(images[0].permute(1, 2, 0), expected, atol=1e-5)
    assert np.array_equal(labels[0], marks)


def test_workers_change_nothing() -> None:
    alone = train_loader(FRAMES, VARIED, **SETTINGS)
    for workers in (1, 2):
        several = train_loader(FRAMES, VARIED, **(SETTINGS | {"workers": workers}))
        for epoch in (0, 1, 0):
            assert same(several.epoch(epoch), alone.epoch(epoch))


def test_epochs_and_seeds_differ() -> None:
    loader, other = (train_loader(FRAMES, VARIED, **(SETTINGS | {"seed": seed})) for seed in (3, 4))
    firsts = [next(loader.epoch(0)), next(loader.epoch(1)), next(other.epoch(0))]
    assert len({images.numpy().tobytes() for images, _ in firsts}) == 3


def test_a_frame_stands_in_one_batch_of_an_epoch_and_looks_another_in_the_next() -> None:
    whole = train_loader(FRAMES, Augmentation((64, 64)), batch_size=14, workers=0, seed=0)
    (images, _), (again, _) = (next(whole.epoch(epoch)) for epoch in (0, 1))
    assert len({image.numpy().tobytes() for image in images}) == 14
    assert not torch.equal(images, again)
    assert {image.numpy().tobytes() for image in images} == {image.numpy().tobytes() for image in again}
    one = train_loader(FRAMES.subset([0]), VARIED, batch_size=1, workers=0, seed=0)
    assert len({next(one.epoch(epoch))[0].numpy().tobytes() for epoch in range(5)}) == 5


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_epochs_of_other_lengths_are_the_same_turns_cut_elsewhere(steps: int) -> None:
    usual = train_loader(FRAMES, VARIED, **SETTINGS)
    turns = [batch for epoch in range(6) for batch in usual.epoch(epoch)]
    cut = train_loader(FRAMES, VARIED, steps=steps, **SETTINGS)
    assert len(cut) == steps
    for epoch in range(18 // steps):
        assert same(list(cut.epoch(epoch)), turns[epoch * steps : (epoch + 1) * steps])
    assert same(list(cut.epoch(1, start_batch=1)), turns[steps + 1 : 2 * steps])


@pytest.mark.parametrize("workers", [0, 2])
def test_going_on_in_the_middle_of_an_epoch(workers: int) -> None:
    loader = train_loader(FRAMES, VARIED, **(SETTINGS | {"workers": workers}))
    assert same(list(loader.epoch(2, start_batch=1)), islice(loader.epoch(2), 1, None))
    assert list(loader.epoch(2, start_batch=3)) == []
    assert same(loader.epoch(3), list(loader.epoch(3)))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_was_left_does_not_leak_into_the_next(workers: int) -> None:
    loader = train_loader(FRAMES, VARIED, **(SETTINGS | {"workers": workers}))
    left, loaded = loader.epoch(0), []
    next(left)
    for batch in loader.epoch(1):
        loaded.append(batch)
        assert list(left) == []
    assert same(loaded, train_loader(FRAMES, VARIED, **SETTINGS).epoch(1))


def test_ranks_share_the_batch_of_one_process() -> None:
    together = list(train_loader(FRAMES, VARIED, batch_size=6, workers=0, seed=5).epoch(1))
    ranks = [
        list(train_loader(FRAMES, VARIED, batch_size=2, workers=0, seed=5, rank=r, world_size=3).epoch(1))
        for r in range(3)
    ]
    joined = [tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)]
    assert len(joined) == 2
    assert same(together, joined)


def test_the_common_random_numbers_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    list(train_loader(FRAMES, VARIED, **SETTINGS).epoch(0))
    next(train_loader(FRAMES, VARIED, **(SETTINGS | {"workers": 1})).epoch(0))
    list(eval_loader(FRAMES, batch_size=8, workers=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_workers_stay_between_epochs_and_end_with_the_loader() -> None:
    loader = train_loader(FRAMES, VARIED, **(SETTINGS | {"workers": 2}))
    at_first = set(multiprocessing.active_children())
    list(loader.epoch(0))
    workers = set(multiprocessing.active_children()) - at_first
    assert len(workers) == 2
    list(loader.epoch(1))
    assert workers == set(multiprocessing.active_children()) - at_first
    running = [psutil.Process(worker.pid) for worker in workers]
    del loader
    gc.collect()
    assert psutil.wait_procs(running, timeout=20)[1] == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_frame_that_went_bad_is_named(tmp_path: Path, workers: int) -> None:
    frames = open_data(f"camvid:{camvid_tutorial(tmp_path)}").frames("train")
    write(tmp_path / "trainannot" / "train_1.png", np.full((12, 16), 12, np.uint8))
    text = r"^/.*/trainannot/train_1\.png: labels out of range: value 12 in 192 pixels; allowed are 0 to 11$"
    with pytest.raises(InvalidData, match=text):
        list(train_loader(frames, VARIED, batch_size=1, workers=workers, seed=0).epoch(0))
    with pytest.raises(InvalidData, match=text):
        list(eval_loader(frames, batch_size=2, workers=workers))


def test_frames_can_be_sent_to_workers_that_are_not_forked(tmp_path: Path) -> None:
    stored = open_data(f"camvid:{camvid_tutorial(tmp_path)}").frames("val")
    for frames in (stored, FRAMES):
        assert np.array_equal(pickle.loads(pickle.dumps(frames))[1][1], frames[1][1])


def test_fewer_frames_than_a_batch() -> None:
    with pytest.raises(
        InvalidData, match=r"^14 training frames are fewer than a batch of 16; lower the batch"
    ):
        train_loader(FRAMES, VARIED, batch_size=8, workers=0, seed=0, world_size=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_every_frame_once_in_order(workers: int) -> None:
    loader = eval_loader(FRAMES, batch_size=4, workers=workers)
    assert len(loader) == 4
    for _ in range(2):
        labels = torch.cat([labels for _, labels in loader]).numpy()
        assert len(labels) == 14
        assert all(np.array_equal(marks, FRAMES[index][1]) for index, marks in enumerate(labels))


def test_ranks_share_the_frames_of_an_evaluation() -> None:
    ranks = [
        torch.cat(
            [labels for _, labels in eval_loader(FRAMES, batch_size=3, workers=0, rank=r, world_size=4)]
        )
        for r in range(4)
    ]
    assert [len(labels) for labels in ranks] == [4, 4, 3, 3]
    for index in range(14):
        assert np.array_equal(ranks[index % 4][index // 4], FRAMES[index][1])
    few = eval_loader(FRAMES.subset([0]), batch_size=3, workers=0, rank=1, world_size=2)
    assert (len(few), list(few)) == (0, [])


def test_evaluation_at_another_size() -> None:
    ((images, labels),) = eval_loader(FRAMES.subset([0, 1]), batch_size=2, workers=0, size=(32, 128))
    assert images.shape == (2, 3, 32, 128)
    assert np.array_equal(labels[1], FRAMES[1][1])
    ((whole, _),) = eval_loader(FRAMES.subset([0, 1]), batch_size=2, workers=0)
    assert torch.allclose(images.mean((2, 3)), whole.mean((2, 3)), atol=0.02)


VANISHES = """
import os, signal, socket
from multiprocessing.resource_sharer import DupFd
from search.data.worker_batches import _begin_worker

_begin_worker(0)
os.kill(os.getpid(), signal.SIGINT)  # a terminal's Ctrl-C, which is for another
handed = DupFd(1)
with socket.socket(socket.AF_UNIX) as vanishing:
    vanishing.connect(handed._id[0])
os.write(handed.detach(), b"served")  # by the thread that met the other one before
raise ValueError("shown")
"""


def test_a_worker_says_nothing_of_one_that_vanishes_as_it_fetches() -> None:
    done = subprocess.run([sys.executable, "-c", VANISHES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "served")
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.endswith("ValueError: shown\n")
