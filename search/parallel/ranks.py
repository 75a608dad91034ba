"""Processes that train together: ``torchrun`` starts them, gradients and batch statistics are shared.

A job without ``torchrun`` is one process, and everything here then costs nothing.
"""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from search.errors import FailedTraining, InvalidRecipe
from search.parallel.sync_batch_norm import convert_batch_norm
from targets.support.interrupts import Terminated

TIMEOUT = timedelta(minutes=30)  # of one exchange: a process may be evaluating meanwhile
_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|Broken pipe|Socket", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of the job: number ``rank`` of ``world_size``, computing on ``device``."""

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def start(cls) -> "Ranks":
        """Join the processes of this job, as torchrun's environment names them; alone where there is none.

        Raises FailedTraining when the others cannot be reached.
        """
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_RANK", 0))
        gpu = torch.cuda.is_available()
        device = torch.device("cuda", local) if gpu else torch.device("cpu")
        if gpu:
            if local >= torch.cuda.device_count():
                raise FailedTraining(
                    f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}; "
                    "start torchrun with that many as --nproc_per_node"
                )
            torch.cuda.set_device(device)
        ranks = cls(rank, world_size, device)
        if world_size > 1:
            if rank and threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, _leave_to_the_first)
            with ranks.watched():
                dist.init_process_group(
                    "nccl" if gpu else "gloo", timeout=TIMEOUT, device_id=device if gpu else None
                )
        return ranks

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, batch_size: int, where: str = "") -> int:
        """Images of this process's part of a batch. Raises InvalidRecipe where parts would differ.

        Args:
            where: begins the refusal.
        """
        if batch_size % self.world_size:
            raise InvalidRecipe(
                f"{where}batch_size {batch_size} cannot be shared by {self.world_size} processes; "
                "allowed: a multiple of that"
            )
        return batch_size // self.world_size

    def sum(self, tensor: Tensor) -> Tensor:
        """Of every process's ``tensor``, the same in all of them; without a gradient."""
        if self.world_size == 1:
            return tensor.detach()
        total = tensor.detach().clone()
        with self.watched():
            dist.all_reduce(total)
        return total

    def mean(self, tensor: Tensor) -> Tensor:
        """As ``sum``."""
        return self.sum(tensor) / self.world_size

    def largest(self, tensor: Tensor) -> Tensor:
        """As ``sum``: the largest of every process's, element by element."""
        most = tensor.detach().clone()
        if self.world_size > 1:
            with self.watched():
                dist.all_reduce(most, dist.ReduceOp.MAX)
        return most

    def gather(self, told: Any) -> list[Any]:
        """What every process says, plain data, in the order of the processes; the same in all of them."""
        if self.world_size == 1:
            return [told]
        found: list[Any] = [None] * self.world_size
        with self.watched():
            dist.all_gather_object(found, told)
        return found

    def wrap(self, module: nn.Module, *, all_used: bool = True) -> nn.Module:
        """The module as it is to be called in training: gradients and batch statistics are those of all.

        Its own batch normalisations are replaced; its parameters stay the same objects.

        Args:
            all_used: whether every parameter takes part in every step.
        """
        if self.world_size == 1:
            return module
        convert_batch_norm(module, self.device)
        return DistributedDataParallel(
            module,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            find_unused_parameters=not all_used,
        )

    def share_statistics(self, module: nn.Module) -> None:
        """Replace its batch normalisations by such whose statistics are those of all; see ``average``."""
        if self.world_size > 1:
            convert_batch_norm(module, self.device)

    @torch.no_grad()
    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gradients become the mean of all processes', in one exchange; the same ones must have some in each.

        Where a step adds up several passes backwards, of which none uses all parameters, this is simpler than
        ``wrap``, and a pass's memory is free before the next.
        """
        own = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.world_size == 1 or not own:
            return
        together = self.mean(torch.cat([gradient.flatten() for gradient in own]))
        parts = torch.split(together, [gradient.numel() for gradient in own])
        for gradient, part in zip(own, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Around anything that exchanges something: a process that is gone becomes a FailedTraining.

        Terminated, where this one was told to end as well.
        """
        try:
            yield
        except RuntimeError as error:
            if self.world_size == 1 or not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
                raise
            if _told_to_end:
                raise Terminated from error
            raise FailedTraining(
                f"process {self.rank} of {self.world_size} lost contact with the others: one of them was "
                "killed, failed (see its own message) or cannot be reached"
            ) from error

    def close(self) -> None:
        """Leave the job."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()


_told_to_end: list[int] = []  # signals that came


def _leave_to_the_first(number: int, frame: FrameType | None) -> None:
    """Ctrl-C and SIGTERM reach all processes, at different steps. The first saves and leaves, which ends the
    others: were one of them to leave earlier, the first would be lost within its step."""
    _told_to_end.append(number)
