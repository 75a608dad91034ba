"""What the networks' authors publish of their sizes."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .bisenetv2 import BiSeNetV2
from .ddrnet import DDRNet23Slim
from .deeplabv3 import DeepLabV3MobileNetV2
from .enet import ENet
from .fast_scnn import FastSCNN
from .lraspp import TAIL, LRASPPMobileNetV3
from .pidnet import PIDNetS
from .segformer import SegFormerB0
from .stdc import STDC1Classifier
from .unet import UNet


@dataclass(frozen=True, slots=True)
class Published:
    """A row of somebody's table.

    Attributes:
        network: of the registry, which shares its layers with ``form``.
        form: what was counted there.
        inputs, height, width: of its image.
        params_m: millions of parameters; None: not told.
        gmacs: 10^9 multiply-accumulates, likewise.
        source: paper and table.
        misses: why a figure is not reached within ``TOLERANCE``; empty where all are.
    """

    network: str
    form: Callable[[], nn.Module]
    height: int
    width: int
    params_m: float | None
    gmacs: float | None
    source: str
    misses: str = ""
    inputs: int = 3


TOLERANCE = 0.02
PUBLISHED = (
    Published(
        *("stdc1-seg", STDC1Classifier, 224, 224, 8.44, 0.813),
        "the backbone as ImageNet classifier; arXiv:2104.13188, table 2",
    ),
    Published(
        *("bisenetv2", BiSeNetV2, 512, 1024, None, 21.15),
        "arXiv:2004.02147, ablations on Cityscapes",
        "how it was counted, and with how wide a head, is not told; ours is 1024 wide",
    ),
    Published(
        *("ddrnet-23-slim", DDRNet23Slim, 1024, 2048, 5.7, 36.3),
        "arXiv:2101.06085, comparison on Cityscapes",
    ),
    Published(*("pidnet-s", PIDNetS, 1024, 2048, 7.6, 47.6), "arXiv:2206.02066, comparison on Cityscapes"),
    Published(
        *("fast-scnn", FastSCNN, 1024, 2048, 1.11, None),
        "arXiv:1902.04502, introduction",
        "it is 1.114 M without normalisation and biases, which theirs seems to be",
    ),
    Published(
        *("enet", ENet, 360, 640, 0.37, 3.83 / 2),
        "arXiv:1606.02147, table 3 (3.83 GFLOPs: multiplications and additions)",
        "convolutions alone are counted here",
    ),
    Published(
        *("unet", lambda: UNet(1, inputs=1, width=32), 512, 512, 7.76, None),
        "half as wide, by others (UNet++, arXiv:1807.10165, table of results); its authors count nothing",
        inputs=1,
    ),
    Published(
        *("deeplabv3-mobilenetv2", lambda: DeepLabV3MobileNetV2(21, ()), 513, 513, 2.11, 2.75),
        "without the dilated convolutions; arXiv:1801.04381, table 7",
    ),
    Published(
        *("deeplabv3-mobilenetv2", lambda: DeepLabV3MobileNetV2(21), 513, 513, 4.52, 5.8),
        "with them; arXiv:1801.04381, table 7",
        "the form without the dilated convolutions is met, and the parameters of this one",
    ),
    Published(
        *("segformer-b0", lambda: SegFormerB0(150), 512, 512, 3.8, 8.4), "arXiv:2105.15203, table 1, ADE20K"
    ),
    Published(
        *("segformer-b0", SegFormerB0, 1024, 2048, 3.8, 125.5),
        "arXiv:2105.15203, table 1, Cityscapes",
        "the row of ADE20K is met; 3.8 M is of its 150 classes",
    ),
    Published(
        *("lraspp-mobilenetv3-large", LRASPPMobileNetV3, 1024, 2048, 1.51, 9.74),
        "arXiv:1905.02244, table 7, row 8",
        "MACs are met; the paper leaves details of the reduced tail open",
    ),
    Published(
        *("lraspp-mobilenetv3-large", lambda: LRASPPMobileNetV3(21, tail=TAIL), 520, 520, 3.221538, 2.086),
        "with its whole tail, as torchvision ships it: lraspp_mobilenet_v3_large, COCO_WITH_VOC_LABELS_V1",
    ),
)
"""From memory, the papers were not at hand; what was found again elsewhere stands in the README.

PP-LiteSeg-T has no published counts; it stands on STDC1's backbone.
"""
