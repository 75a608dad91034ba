"""Input sizes: height first, as in ``1024x2048``."""

import re
from typing import NamedTuple

from search.errors import InvalidResolution

SMALLEST = 64  # four halvings leave a 4x4 map, the least on which dilated blocks mean anything
LARGEST = 8192


class Resolution(NamedTuple):
    """Height and width of a network's input, in pixels."""

    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> "Resolution":
        """``HxW`` -> Resolution. Raises InvalidResolution naming the nearest size that works."""
        return cls.read(text).checked()

    @classmethod
    def read(cls, text: str) -> "Resolution":
        """``HxW`` -> Resolution, of a network that is none of ours. Raises InvalidResolution."""
        match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip().lower())
        if not match:
            raise InvalidResolution(
                f"resolution {text[:40]!r}: write HEIGHTxWIDTH in pixels, for example 512x1024"
            )
        return cls(int(match[1]), int(match[2]))

    def checked(self) -> "Resolution":
        """Itself, or InvalidResolution: sides from 64 to 8192 pixels work, odd ones too."""
        nearest = self.nearest()
        if nearest != self:
            raise InvalidResolution(
                f"resolution {self}: sides must be {SMALLEST} to {LARGEST} pixels; "
                f"the nearest that works is {nearest}"
            )
        return self

    def divided_by(self, stride: int) -> "Resolution":
        """Itself, or InvalidResolution where sides are no multiples of a network's last stride."""
        if any(side % stride for side in self):
            nearest = Resolution(*(max(1, round(side / stride)) * stride for side in self))
            raise InvalidResolution(
                f"resolution {self}: the network's maps are {stride} times smaller, so both sides must be "
                f"multiples of {stride}; the nearest that works is {nearest}"
            )
        return self

    def nearest(self) -> "Resolution":
        """The nearest size that networks take."""
        return Resolution(*(min(max(side, SMALLEST), LARGEST) for side in self))

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"
