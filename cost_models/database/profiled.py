"""What a table was made for: the spaces and sizes that were profiled, each with the kernels that it needs.

Tables of before schema 3 do not say. What they were made for is then told by the labels of their kernels, in
``told_by_labels`` and nowhere else: a frame stands in every table, as the input of the kernel that normalises
it, and from there maps are halved, each side rounded up. Chains of several frames overlap (128x256 is a half
of 256x512 and a quarter of 512x1024), so a size alone does not tell; but a layer runs after the same number
of halvings whatever the frame is, and so has a twin in the chain of another frame.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

Size = tuple[int, int]  # height, width
_HALVINGS = 6  # networks here stop at 4
_LABEL = re.compile(r"(\S+) (\d+(?:x\d+)*)->(\d+(?:x\d+)*) #")
_FRAME, _CLASSES = "normalize", "argmax+tobyte"  # first and last kernel of every deployed network


class Profiled(BaseModel):
    """One space at one size, as far as it was asked for.

    Attributes:
        space: its name; None where only the kernels tell of it.
        resolution: of the camera's frame, HxW.
        outputs: of the head: classes of a segmentation; None where only the kernels tell and do not say.
        kernels: keys of all that its networks are made of.
        task: what its heads are for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    space: str | None
    resolution: str
    outputs: int | None
    kernels: list[str]
    task: str = "segmentation"

    @property
    def what(self) -> tuple[str | None, str, int | None, str]:
        """Equal where a second profile is of the same."""
        return self.space, self.resolution, self.outputs, self.task


def merged(earlier: Iterable[Profiled], now: Iterable[Profiled]) -> tuple[Profiled, ...]:
    """All of them; of the same twice, the later."""
    return tuple({one.what: one for one in (*earlier, *now)}.values())


class _Layer(NamedTuple):
    """A kernel without its sizes: operations, and the channels that it reads first and writes."""

    steps: str
    channels: tuple[int, int]


class _Place(NamedTuple):
    """A kernel by its label."""

    key: str
    layer: _Layer
    size: Size  # the larger one of the maps that it reads first and writes


def told_by_labels(keys: Iterable[str]) -> list[Profiled]:
    """What a table without ``profiled`` was made for, the smallest frame first.

    A kernel belongs to the frames whose chains have its size and at whose depth most other frames have a twin
    of it; to none where no chain has its size. Single pixels belong to all.
    """
    places = [place for place in map(_place, keys) if place is not None]
    frames = sorted({p.size for p in places if p.layer.steps == _FRAME}, key=lambda size: (_area(size), size))
    kernels: dict[Size, list[str]] = {frame: [] for frame in frames}
    known = {(place.layer, _even(place.size)) for place in places}
    for place in places:
        for frame in _frames_of(place, frames, known):
            kernels[frame].append(place.key)
    heads: dict[Size, set[int]] = {}
    for place in places:
        if place.layer.steps == _CLASSES:
            heads.setdefault(place.size, set()).add(place.layer.channels[0])
    return [
        Profiled(
            space=None,
            resolution="x".join(map(str, size)),
            outputs=outputs or None,
            kernels=kernels.get(size, []),
        )
        for size in sorted({*frames, *heads}, key=lambda size: (_area(size), size))
        for outputs in sorted(heads.get(size, {0}))
    ]


def _frames_of(place: _Place, frames: Sequence[Size], known: set[tuple[_Layer, Size]]) -> list[Size]:
    if place.size == (1, 1):
        return list(frames)
    twins = {
        frame: sum((place.layer, _even(_halved(other, depth))) in known for other in frames if other != frame)
        for frame in frames
        if (depth := _depth(frame, place.size)) is not None
    }
    return [frame for frame in twins if twins[frame] == max(twins.values())]


def _place(key: str) -> _Place | None:
    """None for a label that tells of no maps."""
    match = _LABEL.match(key)
    if match is None:
        return None
    steps, *ends = match.groups()
    read, written = (tuple(map(int, end.split("x"))) for end in ends)
    if len(read) != 3 or len(written) not in (2, 3):
        return None
    channels = 1 if len(written) == 2 else written[0]  # class indices have no channels
    if steps == _FRAME:  # frames have theirs last
        return _Place(key, _Layer(steps, (read[2], channels)), (read[0], read[1]))
    sizes: list[Size] = [(read[1], read[2]), (written[-2], written[-1])]
    return _Place(key, _Layer(steps, (read[0], channels)), max(sizes, key=_area))


def _depth(frame: Size, size: Size) -> int | None:
    """How often the frame must be halved; a shifted map is one pixel short. None if it never gets there."""
    for depth in range(_HALVINGS + 1):
        halved = _halved(frame, depth)
        if all(0 <= whole - side <= 1 for whole, side in zip(halved, size, strict=True)):
            return depth
    return None


def _halved(size: Size, times: int) -> Size:
    height, width = (-(-side // 2**times) for side in size)
    return height, width


def _even(size: Size) -> Size:
    height, width = (side + side % 2 for side in size)
    return height, width


def _area(size: Size) -> int:
    return size[0] * size[1]
