"""Depthwise convolutions with dilation, whose gradients PyTorch gets wrong in bfloat16 on CPUs.

Seen with PyTorch 2.13 and its oneDNN, on a CPU with bfloat16 instructions: the gradient of the weight of a
depthwise convolution of dilation 2 or more and stride 1, of maps in channels_last that are 31 wide or more,
is other memory's contents. Output and gradient of the map are right, and so are float32 and other layouts.
"""

import torch
from torch import Tensor, nn


class DilatedDepthwise(nn.Conv2d):
    """nn.Conv2d, except that it computes in float32 on CPUs, whatever autocast says."""

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            wide = super().forward(input.float())
        return wide.to(torch.get_autocast_dtype("cpu"))
