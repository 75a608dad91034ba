"""Random changes of frames and their truth: functions of the numbers that a generator gives. No PyTorch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from search.data.plain_images import Size, UInt8
from search.data.truth import CLASS_INDICES, Array, Truth
from search.data.window import Span, Window
from search.spaces.camera import IMAGENET_MEAN

PADDING: tuple[int, ...] = tuple(round(255 * mean) for mean in IMAGENET_MEAN)  # zero once normalised
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Augmentation:
    """How training frames are varied, by numbers drawn uniformly.

    Attributes:
        crop: height and width of what comes out, pixels.
        scale: smallest and largest factor by which a frame is resized before a crop is taken at random.
            Where it is smaller than the crop, it lies at random in mean colour, of which nothing counts.
        flip: mirror every other frame, by chance.
        colour: brightness, contrast and saturation are each multiplied by 1 - colour to 1 + colour.
        scales: factors, one of which is drawn instead of one from ``scale``.

    Raises:
        ValueError: a number out of range.
    """

    crop: Size
    scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    colour: float = 0.0
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise ValueError(f"crop {self.crop[0]}x{self.crop[1]}: sides must be at least 1 pixel")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {self.scale[0]} to {self.scale[1]}: must be above 0, the smaller first")
        if self.scales and min(self.scales) <= 0:
            raise ValueError(f"scales {', '.join(map(str, self.scales))}: must be above 0")
        if not 0 <= self.colour <= 1:
            raise ValueError(f"colour {self.colour}: must be 0 to 1")

    def apply(
        self, image: UInt8, truth: Array, rng: np.random.Generator, kind: Truth = CLASS_INDICES
    ) -> tuple[UInt8, Array]:
        """Image (H, W, 3) and truth of a kind to a crop of both. Equal generators give equal crops."""
        scale = self.scales[rng.integers(len(self.scales))] if self.scales else rng.uniform(*self.scale)
        shares = rng.random(2)
        flipped = bool(self.flip and rng.random() < 0.5)
        factors = rng.uniform(1 - self.colour, 1 + self.colour, 3)
        rows, columns = (
            Span.of(length, crop, scale, share)
            for length, crop, share in zip(image.shape[:2], self.crop, shares, strict=True)
        )
        window = Window(rows, columns, self.crop, float(scale), flipped)
        picture = window.cut(Image.fromarray(image), Image.Resampling.BILINEAR)
        if self.colour:
            picture = _recoloured(picture, factors)
        out = np.full((*self.crop, 3), PADDING, np.uint8)
        out[rows.filled, columns.filled] = np.asarray(picture)
        return out[:, ::-1] if flipped else out, kind.cropped(truth, window)


def _recoloured(picture: Image.Image, factors: npt.NDArray[np.float64]) -> Image.Image:
    """Brightness, contrast, saturation, one after another, as one linear map: each of them is linear."""
    brightness, contrast, saturation = factors
    mean = float(np.asarray(picture)[::4, ::4].reshape(-1, 3).mean(0) @ LUMA)
    mixing = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * LUMA)
    shift = np.full((3, 1), brightness * (1 - contrast) * mean)
    return picture.convert("RGB", tuple(np.hstack([mixing, shift]).ravel().tolist()))
