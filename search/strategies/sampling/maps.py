"""Maps of a frozen encoder, computed once for fixed frames and kept in memory for all networks over it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.data.loaders import Batch
from search.spaces.encoders import Encoder

Taught = Callable[[Tensor], Tensor]
"""Images -> a teacher's last map."""


@dataclass(frozen=True)
class KeptMaps:
    """Of some frames of one size, on the CPU.

    Attributes:
        taps: (N, C, h, w) each, the finest first.
        truth: of each frame, (N, ...).
        size: height and width of the frames, pixels.
        taught: what a teacher makes of them, (N, outputs, h, w) at the finest tap's size; None without one.
    """

    taps: tuple[Tensor, ...]
    truth: Tensor
    size: tuple[int, int]
    taught: Tensor | None

    @classmethod
    @torch.no_grad()
    def of(cls, encoder: nn.Module, batch: Batch, taught: Taught | None, device: torch.device) -> "KeptMaps":
        """Of a batch; ``encoder`` is in evaluation mode."""
        images, truth = batch
        images = images.to(device)
        found = encoder(images)
        taps = tuple(found) if isinstance(found, tuple) else (found,)
        told = resized(taught(images), taps[0].shape[-2:]).cpu() if taught else None
        height, width = images.shape[-2:]
        return cls(tuple(tap.cpu() for tap in taps), truth, (height, width), told)

    @classmethod
    def joined(cls, parts: Iterable["KeptMaps"], count: int) -> "KeptMaps":
        """The first ``count`` frames of several."""
        found = list(parts)
        taps = zip(*(part.taps for part in found), strict=True)
        taught = [part.taught for part in found if part.taught is not None]
        return cls(
            tuple(torch.cat(tap)[:count] for tap in taps),
            torch.cat([part.truth for part in found])[:count],
            found[0].size,
            torch.cat(taught)[:count] if taught else None,
        )


def kept_bytes(encoder: Encoder, size: tuple[int, int], frames: int, taught: int = 0) -> int:
    """What the maps of that many frames of a size take; ``taught``: outputs of a teacher."""
    graph = encoder.graph()
    shapes = graph.shapes({"x": (1, 3, *size)})
    values = sum(prod(shapes[name]) for name in graph.outputs)
    values += taught * prod(shapes[graph.outputs[0]][2:])
    return 4 * frames * values


def resized(last: Tensor, size: Iterable[int]) -> Tensor:
    """A network's last map at another size, bilinear."""
    return functional.interpolate(last, size=tuple(size), mode="bilinear", align_corners=False)
