"""Batch normalisation over the batches of all processes. PyTorch has it for GPUs alone."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOfAll(torch.autograd.Function):
    """Sum over all processes; the gradient of each is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _SumOfAll.apply(gradients[0])  # type: ignore[no-untyped-call]


def synchronised_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    momentum: float,
    epsilon: float,
) -> Tensor:
    """``functional.batch_norm`` in training mode, with the statistics of all processes together.

    Args:
        x: (N, C, H, W); N, H and W may differ between processes, but all must call.
        weight, bias: (C,), or None both.
        running_mean, running_var: (C,), updated in place.
    """
    channels, local = x.shape[1], x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(local, dim=(0, 2, 3), correction=0)
    var, mean = var.double(), mean.double()  # what follows would cancel in single precision
    pixels = mean.new_full((1,), x.numel() // channels)
    sums = _SumOfAll.apply(torch.cat([mean * pixels, (var + mean**2) * pixels, pixels]))  # type: ignore[no-untyped-call]
    count = sums[-1].detach()
    mean, square = (sums[:-1] / count).split(channels)
    var = (square - mean**2).clamp_min(0)
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    scale = torch.rsqrt(var + epsilon).to(local.dtype)
    centred = local - mean.to(local.dtype)[:, None, None]
    if weight is None or bias is None:
        normalised: Tensor = centred * scale[:, None, None]
    else:
        normalised = centred * (weight * scale.to(weight.dtype))[:, None, None] + bias[:, None, None]
    return normalised.to(x.dtype)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose training statistics are of the batches of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        return synchronised_batch_norm(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            momentum=1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum,
            epsilon=self.eps,
        )


def convert_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Replace every nn.BatchNorm2d inside ``module`` by one that is synchronised on ``device``.

    Parameters and buffers stay the same objects, so optimizers made before still hold.
    """
    for name, child in module.named_children():
        if type(child) is not nn.BatchNorm2d:
            convert_batch_norm(child, device)
        elif device.type == "cuda":
            setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))  # type: ignore[no-untyped-call]
        else:
            setattr(module, name, _converted(child))


def _converted(norm: nn.BatchNorm2d) -> SyncBatchNorm2d:
    new = SyncBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, device="meta")
    for name, parameter in norm.named_parameters():
        setattr(new, name, parameter)
    for name, buffer in norm.named_buffers():
        setattr(new, name, buffer)
    new.train(norm.training)
    return new
