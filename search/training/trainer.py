"""One stage of training: a network, its optimizer and its average, updated batch by batch."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search.errors import Diverged, InvalidRecipe
from search.networks.auxiliary import PREFIX
from search.networks.names import HEAD
from search.parallel.ranks import Ranks
from search.tasks.task import Loss
from search.training.ema import Ema
from search.training.recipe import Adam, Sgd, Stage
from search.training.schedules import learning_rate_factor
from search.training.teacher import TeacherLoss


@dataclass(frozen=True)
class StepLoss:
    """Of one update, over the whole batch, that of all processes.

    Attributes:
        total: what was lowered.
        distillation: the part of it that is for differing from the teacher; None without one.
    """

    total: float
    distillation: float | None = None


class Trainer:
    """Updates ``network`` as a stage says.

    Args:
        network: on the ranks' device.
        teacher: whom the network's own output, not that of heads for training alone, is compared with.
        steps_per_epoch: updates.

    Raises InvalidRecipe for a precision that the device has not.
    """

    def __init__(
        self,
        network: nn.Module,
        stage: Stage,
        loss: Loss,
        ranks: Ranks,
        *,
        steps_per_epoch: int,
        teacher: TeacherLoss | None = None,
    ) -> None:
        if stage.precision == "float16" and ranks.device.type != "cuda":
            raise InvalidRecipe(
                f"stage {stage.name}: precision float16 trains on GPUs only; allowed here: float32, bfloat16"
            )
        self.network, self.stage, self.ranks = network, stage, ranks
        self._steps_per_epoch = steps_per_epoch
        _set_frozen(network, stage.freeze_norms)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module = ranks.wrap(network)
        self.optimizer = _optimizer(network, stage.optimizer)
        self.ema = Ema(network, stage.ema_decay) if stage.ema_decay else None
        self._scaler = torch.amp.GradScaler(enabled=stage.precision == "float16")
        self._loss, self._teacher = loss, teacher

    @property
    def evaluated(self) -> nn.Module:
        """The network whose accuracy counts: the average where there is one."""
        return self.ema.module if self.ema else self.network

    def step(self, images: Tensor, labels: Tensor, step: int) -> StepLoss:
        """One update.

        Args:
            images, labels: this process's part.
            step: of the stage, from 0.

        Raises:
            Diverged: a loss or a gradient that is no number.
            FailedTraining: another process is lost.
        """
        rate = self._set_learning_rate(step)
        device = self.ranks.device
        images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        labels = labels.to(device, non_blocking=True)
        self._set_modes()
        self.optimizer.zero_grad(set_to_none=True)
        with self.ranks.watched():
            with torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32):
                outputs = self._module(images)
                taught = self._teacher.taught(images) if self._teacher else None
            part, apart = self._losses(outputs, taught, labels)
            loss, distillation = self.ranks.mean(torch.stack([part, apart])).tolist()
            self._check(loss, "loss", step, rate)
            self._scaler.scale(part).backward()  # type: ignore[no-untyped-call]
            self._update(step, rate)
        return StepLoss(loss, distillation if self._teacher else None)

    def _losses(
        self, outputs: Tensor | tuple[Tensor, ...], taught: Tensor | None, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of the network, of the heads that it has for training alone and for what its teacher gives; and the
        last of these alone."""
        last, *heads = map(_precise, outputs if isinstance(outputs, tuple) else (outputs,))
        total = self._loss(last, labels)
        for logits in heads:
            total = total + self.stage.auxiliary * self._loss(logits, labels)
        if self._teacher is None or taught is None:
            return total, torch.zeros_like(total)
        distillation = self._teacher(last, _precise(taught))
        return total + distillation, distillation

    def learning_rate(self, step: int) -> float:
        """Of the encoder, in a step of the stage."""
        factor = learning_rate_factor(self.stage.schedule, step, self._steps_per_epoch, self.stage.epochs)
        return self.stage.optimizer.learning_rate * factor

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What ``state_dict`` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self._scaler.load_state_dict(state["scaler"])

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.stage.precision)
        return dtype

    def _update(self, step: int, rate: float) -> None:
        if not self._scaler.is_enabled():  # a scaler leaves out updates that are no number by itself
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
            self._check(float(torch.nn.utils.get_total_norm(gradients)), "gradient's norm", step, rate)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.ema:
            self.ema.update(self.network)

    def _set_learning_rate(self, step: int) -> float:
        rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        return rate

    def _set_modes(self) -> None:
        self._module.train()
        if self.stage.freeze_norms:
            for norm in _norms(self.network):
                norm.eval()

    def _check(self, value: float, what: str, step: int, rate: float) -> None:
        if not math.isfinite(value):
            epoch, batch = divmod(step, self._steps_per_epoch)
            raise Diverged(
                f"stage {self.stage.name}: the {what} is {value} in epoch {epoch + 1}, step {batch + 1} of "
                f"{self._steps_per_epoch}, at a learning rate of {rate:.3g}: lower optimizer.learning_rate "
                "or lengthen schedule.warmup_epochs"
            )


def _precise(logits: Tensor) -> Tensor:
    """In single precision at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def _set_frozen(network: nn.Module, freeze_norms: bool) -> None:
    network.requires_grad_(True)
    if freeze_norms:
        for norm in _norms(network):
            norm.requires_grad_(False)


def _optimizer(network: nn.Module, how: Sgd | Adam) -> torch.optim.Optimizer:
    groups = _parameter_groups(network, how)
    if isinstance(how, Adam):
        return torch.optim.Adam(groups, lr=how.learning_rate)
    return torch.optim.SGD(groups, lr=how.learning_rate, momentum=how.momentum, nesterov=how.nesterov)


def _parameter_groups(network: nn.Module, how: Sgd | Adam) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = how.head_factor if name.startswith((HEAD, PREFIX)) else 1.0
            decay = how.weight_decay if how.decay_norms or parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
