"""Which failures are explained, by real ones."""

import errno
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch

from search.errors import FailedTraining, InvalidData
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
def test_memory_that_runs_out_is_one_line(fail: Callable[[], object]) -> None:
    with (
        pytest.raises(FailedTraining) as caught,
        failures_explained(memory="too large: lower it", workers="--workers"),
    ):
        fail()
    assert str(caught.value) == "too large: lower it; the last checkpoint, if any, is kept"


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.ones(2) @ torch.ones(3),
        lambda: os.stat("/nowhere/at/all"),
    ],
)
def test_what_is_something_else_passes_through(fail: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, OSError)), failures_explained(memory="", workers=""):
        fail()


def test_damaged_data_says_how_to_go_on() -> None:
    said = "frame 3 is damaged; the last checkpoint is kept; start the same command"
    with pytest.raises(FailedTraining, match=said), damage_explained():
        raise InvalidData("frame 3 is damaged")
