"""Batches from worker processes: each one arrives, or its worker ends, which is noticed and said.

PyTorch hands a tensor over in shared memory. Where there is no room (Docker gives /dev/shm 64 MB), it finds
out in a thread of the worker, which shows a traceback and forgets the batch: the other side waits for ever.
"""

import contextlib
import logging
import multiprocessing
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from search.errors import InvalidData, LostWorker

_GONE = re.compile(r"DataLoader worker \(pid")
_LOST = "a process that loads data was killed, mostly for want of memory"

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
        return [tensor.share_memory_() for tensor in tensors]  # type: ignore[no-untyped-call]
    except RuntimeError:  # whatever PyTorch says: no space, no folder, too many files
        return [tensor.numpy() for tensor in tensors]


def loaded(loader: DataLoader[Any]) -> Iterator[list[Tensor]]:
    """The batches of a loader, each once it is there. Raises LostWorker, and the InvalidData of a worker."""
    _deaths.take_over()
    batches = iter(loader)
    while True:
        try:
            with _deaths.told():
                batch = next(batches, None)
        except (ConnectionError, EOFError) as error:  # it went after it had promised a batch
            raise LostWorker(_LOST) from error
        except RuntimeError as error:
            if not _GONE.search(str(error)):
                raise
            raise LostWorker(_LOST) from error
        if batch is None:
            return
        if isinstance(batch, InvalidData):
            raise batch
        if not all(isinstance(part, Tensor) for part in batch):
            _say_no_room()
        yield [torch.as_tensor(part) for part in batch]


class _Deaths:
    """What PyTorch says of a worker that is gone, kept until somebody waits for a batch.

    Its handler of SIGCHLD raises wherever the program happens to be: where the interpreter cannot pass an
    error on (after a fork, in a destructor), that is shown as a traceback and forgotten. While a batch is
    waited for it has to raise: a worker that was killed as it sent one may have left half of it in the pipe.
    """

    def __init__(self) -> None:
        self._theirs: Any = None
        self._waiting = self._heard = False

    def take_over(self) -> None:
        """Stand before PyTorch's handler, in the main thread, which alone has signals. Idempotent."""
        if self._theirs is None and threading.current_thread() is threading.main_thread():
            signal_handling._set_SIGCHLD_handler()
            self._theirs = signal.signal(signal.SIGCHLD, self._heed)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Around waiting for a batch: a death raises now, an earlier one at once."""
        self._waiting = threading.current_thread() is threading.main_thread()
        try:
            if self._heard:
                self._heed()
            yield
        finally:
            self._waiting = False

    def _heed(self, *_: object) -> None:
        self._heard = not self._waiting
        if self._waiting and callable(self._theirs):
            self._theirs(signal.SIGCHLD, None)


_deaths = _Deaths()


@cache
def _say_no_room() -> None:
    """Once."""
    log.warning(
        "batches do not fit into what is left of /dev/shm, and take a slower way: make room there "
        "(docker run --shm-size=1g), or load without processes (train: --workers 0, search: workers: 0 in "
        "the recipe)"
    )


def _begin_worker(number: int) -> None:
    """Leave Ctrl-C and SIGTERM, which may be meant for all processes, to the one that is served; and end with
    a batch that cannot be handed over.

    The process that is served may also go in the middle of a batch, and the thread that hands it over would
    show a traceback, by this hook.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (served := multiprocessing.parent_process()) is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, args=(served.pid,), daemon=True).start()
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, ConnectionError | EOFError):
            shown(kind, error, trace)

    sys.excepthook = hook


def _end_when_told(served: int) -> None:
    """By the process that is served, which hears itself what others send, and may save first."""
    told_by = None
    while told_by != served:
        told_by = signal.sigwaitinfo({signal.SIGTERM}).si_pid
    os._exit(0)


def _end(error: Exception, item: Any) -> None:
    os._exit(1)


def _as_it_is(batch: Any) -> Any:
    return batch
