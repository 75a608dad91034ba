"""Batches from worker processes: each one arrives, or its worker ends, which is noticed and said.

PyTorch hands a tensor over in shared memory. Where there is no room (Docker gives /dev/shm 64 MB), it finds
out in a thread of the worker, which shows a traceback and forgets the batch: the other side waits for ever.
"""

import contextlib
import logging
import multiprocessing.queues
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from search.errors import InvalidData, LostWorker

_GONE = re.compile(r"DataLoader worker \(pid")

log = logging.getLogger(__name__)


def batch_loader(batches: Dataset[Any], order: Any, workers: int, *, stay: bool) -> DataLoader[Any]:
    """Of a data set whose items are batches, in the given order of keys.

    Args:
        batches: gives what ``handed_over`` makes of tensors, or an InvalidData that is raised on this side.
        stay: workers live as long as the loader, or as long as one iteration.
    """
    return DataLoader(
        batches,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        persistent_workers=stay and workers > 0,
        collate_fn=_as_it_is,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # or each pass would take a number from the common one
    )


def handed_over(tensors: Sequence[Tensor]) -> list[Any]:
    """A batch as a worker gives it away: in shared memory; where there is no room, as arrays for a pipe.

    Asks for the room here and now, where a refusal can be heard.
    """
    if torch.utils.data.get_worker_info() is None:
        return list(tensors)
    try:
        return [tensor.share_memory_() for tensor in tensors]
    except RuntimeError:  # whatever PyTorch says: no space, no folder, too many files
        return [tensor.numpy() for tensor in tensors]


def loaded(loader: DataLoader[Any]) -> Iterator[list[Tensor]]:
    """The batches of a loader, each once it is there. Raises LostWorker, and the InvalidData of a worker."""
    with _losses_named():
        batches = iter(loader)
    slowly = False
    while True:
        with _losses_named():
            batch = next(batches, None)
        if batch is None:
            return
        if isinstance(batch, InvalidData):
            raise batch
        if not slowly and not all(isinstance(part, Tensor) for part in batch):
            slowly = True
            log.warning(
                "batches do not fit into what is left of /dev/shm, and take a slower way: make room there "
                "(docker run --shm-size=1g), or load without worker processes (--workers 0)"
            )
        yield [torch.as_tensor(part) for part in batch]


@contextlib.contextmanager
def _losses_named() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and not _GONE.search(str(error)):
            raise
        raise LostWorker("a process that loads data was killed, mostly for want of memory") from error


def _begin_worker(number: int) -> None:
    """Leave Ctrl-C and SIGTERM, which may be meant for all processes, to the one that is served; and end with
    a batch that cannot be handed over.

    The process that is served may also go in the middle of a batch, and the thread that hands it over would
    show a traceback, by this hook.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _pass_once)
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, ConnectionError | EOFError):
            shown(kind, error, trace)

    sys.excepthook = hook


def _pass_once(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the second one is the served process's own


def _end(error: Exception, item: Any) -> None:
    os._exit(1)


def _as_it_is(batch: Any) -> Any:
    return batch
