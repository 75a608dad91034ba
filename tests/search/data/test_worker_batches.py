"""A batch of a worker arrives, whatever room there is, or its worker's end is noticed."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from search.data.worker_batches import batch_loader, handed_over, loaded
from search.errors import LostWorker

ROOT = Path(__file__).parents[3]
SMALL_SHM = """
import logging, sys
import torch
from search.data import Augmentation, open_data
from search.data.loaders import train_loader

logging.basicConfig(format="%(message)s")
frames = open_data("synthetic:8:64x64").frames("train")
how = {"batch_size": 4, "seed": 3}
alone, several = (train_loader(frames, Augmentation((512, 512)), workers=n, **how) for n in (0, 2))
for epoch in range(2):
    for one, other in zip(alone.epoch(epoch), several.epoch(epoch), strict=True):
        assert all(map(torch.equal, one, other))
sys.stdout.write("all arrived")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small /dev/shm of its own, which needs root")
def test_batches_that_do_not_fit_into_shared_memory_arrive_and_it_is_said_once() -> None:
    """Four crops of 512x512 take 4 MB. Nor does a worker stay when all is done."""
    line = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", line, "sh", sys.executable, "-c", SMALL_SHM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "all arrived"), done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("batches do not fit into what is left of /dev/shm, and take a slower way: ")
    assert "--shm-size=1g" in said
    assert "--workers 0" in said


class Fault:
    """What cannot be sent to another process."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> Any:
        if self.kind == "raises":
            raise ValueError("not to be sent")
        os._exit(0)


class Batches(Dataset[Any]):
    """Good ones, except the first, at which its worker fails in some way."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __getitem__(self, index: int) -> Any:
        if index == 0 and self.kind == "exits":
            os._exit(0)
        return [Fault(self.kind)] if index == 0 else handed_over([torch.full((2, 2), index)])


@pytest.mark.parametrize("kind", ["raises", "ends while it is sent", "exits"])
def test_a_batch_that_never_comes_is_not_waited_for(kind: str) -> None:
    batches = loaded(batch_loader(Batches(kind), [0, 1, 2], 1, stay=False))
    with pytest.raises(LostWorker, match=r"^a process that loads data was killed, mostly for want of mem"):
        next(batches)


def test_a_death_is_told_where_the_next_batch_is_asked_for() -> None:
    """And nowhere else: in a fork or a destructor it would be shown as a traceback, and forgotten."""
    at_first = set(multiprocessing.active_children())
    batches = loaded(batch_loader(Batches("good"), range(1, 40), 1, stay=True))
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - at_first
    worker.kill()
    worker.join(timeout=20)
    with pytest.raises(LostWorker, match=r"^a process that loads data was killed"):
        for _ in batches:
            pass


def test_sigterm_of_others_does_not_end_a_worker() -> None:
    """It may be for all processes of a group, of which the one that is served wants to save first."""
    at_first = set(multiprocessing.active_children())
    loader = batch_loader(Batches("good"), range(1, 40), 1, stay=True)
    batches = loaded(loader)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - at_first
    assert worker.pid is not None
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    assert [int(batch[0][0, 0]) for batch in batches] == list(range(2, 40))
    assert worker.is_alive()
    worker.terminate()
    worker.join(timeout=20)
    assert worker.exitcode == 0
