"""The networks by name. Nothing here imports PyTorch: processes that run TVM read these names, too."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

NETWORKS: Mapping[str, tuple[str, str]] = {
    "stdc1-seg": ("stdc", "STDC1Seg"),
    "bisenetv2": ("bisenetv2", "BiSeNetV2"),
    "ddrnet-23-slim": ("ddrnet", "DDRNet23Slim"),
    "pidnet-s": ("pidnet", "PIDNetS"),
    "pp-liteseg-t": ("pp_liteseg", "PPLiteSegT"),
    "fast-scnn": ("fast_scnn", "FastSCNN"),
    "enet": ("enet", "ENet"),
    "unet": ("unet", "UNet"),
    "deeplabv3-mobilenetv2": ("deeplabv3", "DeepLabV3MobileNetV2"),
    "segformer-b0": ("segformer", "SegFormerB0"),
    "lraspp-mobilenetv3-large": ("lraspp", "LRASPPMobileNetV3"),
}
"""Each with its file and its class there: (N, 3, H, W) float32 to logits (N, 19, H, W)."""


def build(name: str) -> "nn.Module":
    """A network as PyTorch makes it; ``blocks.randomise`` gives it sensible weights."""
    module, kind = NETWORKS[name]
    network: nn.Module = getattr(import_module(f"{__package__}.{module}"), kind)()
    return network
