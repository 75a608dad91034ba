"""What ends a training or a search that was right: said in one line, with what to lower and what is kept."""

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from search.errors import Diverged, FailedTraining, InvalidData, LostWorker
from search.kept import go_on, start_anew

_NO_MEMORY = re.compile(
    r"MemoryError|allocate memory|not enough memory|out of memory|ALLOC_FAILED", re.IGNORECASE
)


@contextlib.contextmanager
def failures_explained(out: Path, *, memory: str, workers: str) -> Iterator[None]:
    """Failures, memory that runs out here or on the device among them, as FailedTraining: each ends with what
    is kept and what to do.

    Args:
        out: folder of the checkpoint.
        memory: what there was too little memory for, and what to change.
        workers: where their number is set.
    """
    try:
        yield
    except LostWorker as error:
        raise FailedTraining(f"{error}: lower {workers}; {go_on(out)}") from error
    except Diverged as error:
        raise FailedTraining(f"{error}, and {start_anew(out)}") from error
    except FailedTraining as error:
        raise FailedTraining(f"{error}; {go_on(out)}") from error
    except (MemoryError, RuntimeError, OSError) as error:
        if is_no_memory(error):
            raise FailedTraining(f"{memory}, and {start_anew(out)}") from error
        raise


@contextlib.contextmanager
def damage_explained() -> Iterator[None]:
    """Data that turns out to be damaged on the way, as FailedTraining."""
    try:
        yield
    except InvalidData as error:
        raise FailedTraining(str(error)) from error


def is_no_memory(error: Exception) -> bool:
    """Whether memory ran out, here or on the device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # no new process
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(_NO_MEMORY.search(str(error)))
