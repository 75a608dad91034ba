"""Which failures are explained, by real ones."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from search.errors import Diverged, FailedTraining, InvalidData, LostWorker
from search.training.failures import damage_explained, failures_explained


def _gpu_full() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def _no_new_process() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.empty(1 << 50),
        lambda: np.empty(1 << 50),
        lambda: bytearray(1 << 60),
        _gpu_full,
        _no_new_process,
    ],
    ids=["PyTorch", "numpy", "Python", "GPU", "fork"],
)
def test_memory_that_runs_out_is_one_line(fail: Callable[[], object], tmp_path: Path) -> None:
    with (
        pytest.raises(FailedTraining) as caught,
        failures_explained(tmp_path, memory="too large: lower it", workers="--workers"),
    ):
        fail()
    assert str(caught.value) == "too large: lower it, and start again; no checkpoint was written yet"


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.ones(2) @ torch.ones(3),
        lambda: os.stat("/nowhere/at/all"),
    ],
)
def test_what_is_something_else_passes_through(fail: Callable[[], object], tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, OSError)), failures_explained(tmp_path, memory="", workers=""):
        fail()


def said_of(error: Exception, out: Path) -> str:
    explained = failures_explained(out, memory="", workers="--workers")
    with pytest.raises(FailedTraining) as caught, explained, damage_explained():
        raise error
    return str(caught.value)


def test_what_is_kept_is_said_as_it_is(tmp_path: Path) -> None:
    """Without a checkpoint, with one, and with best weights beside it."""
    failed, damaged = FailedTraining("process 1 is lost"), InvalidData("frame 3 is damaged")
    diverged, lost = Diverged("the loss is nan: lower the learning rate"), LostWorker("a process is gone")
    none = "no checkpoint was written yet"
    for error in (failed, damaged):
        assert said_of(error, tmp_path) == f"{error}; {none}; the same command begins anew"
    assert said_of(diverged, tmp_path) == f"{diverged}, and start again; {none}"
    assert said_of(lost, tmp_path).startswith(f"a process is gone: lower --workers; {none}")
    (tmp_path / "last.ckpt").touch()
    kept = f"the last checkpoint is kept in {tmp_path}"
    for error in (failed, damaged):
        assert (
            said_of(error, tmp_path) == f"{error}; {kept}; the same command with --resume goes on from there"
        )
    assert said_of(diverged, tmp_path) == f"{diverged}, and start in another --out; {kept}"
    (tmp_path / "best.safetensors").touch()
    best = f"with --init {tmp_path / 'best.safetensors'}, the best weights so far"
    assert said_of(diverged, tmp_path) == f"{diverged}, and start in another --out {best}; {kept}"
