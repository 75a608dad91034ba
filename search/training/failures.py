"""What ends a training or a search that was right: said in one line, with what to lower."""

import contextlib
import errno
import re
from collections.abc import Iterator

import torch

from search.errors import FailedTraining, InvalidData
from search.parallel.ranks import KEPT

_NO_MEMORY = re.compile(
    r"MemoryError|allocate memory|not enough memory|out of memory|ALLOC_FAILED", re.IGNORECASE
)
_GONE = re.compile(r"DataLoader worker \(pid")


@contextlib.contextmanager
def failures_explained(*, memory: str, workers: str) -> Iterator[None]:
    """Memory that runs out, here or on the device, and loading processes that are gone, as FailedTraining.

    Args:
        memory: what there was too little memory for, and what to do.
        workers: where their number is set.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if _is_no_memory(error):
            raise FailedTraining(f"{memory}; the last checkpoint, if any, is kept") from error
        if isinstance(error, RuntimeError) and _GONE.search(str(error)):
            raise FailedTraining(
                f"a process that loads data was killed, mostly for want of memory: lower {workers}; {KEPT}"
            ) from error
        raise


@contextlib.contextmanager
def damage_explained() -> Iterator[None]:
    """Data that turns out to be damaged on the way, as FailedTraining."""
    try:
        yield
    except InvalidData as error:
        raise FailedTraining(f"{error}; {KEPT}") from error


def _is_no_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # no new process
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(_NO_MEMORY.search(str(error)))
