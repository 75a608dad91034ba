"""NYU Depth V2 (Silberman et al., ECCV 2012): its 1449 labelled frames of rooms, as image files. No PyTorch.

The layout is that in which scripts of published networks (BTS, AdaBins and others) write the frames of
``nyu_depth_v2_labeled.mat``: a folder ``official_splits`` with ``train`` (795 frames) and ``test`` (654), in
each a folder a sort of scene, with ``rgb_00001.jpg`` and ``sync_depth_00001.png``, 16-bit millimetres. The
.mat file itself is not read: HDF5 would be a dependency for one file, and a large parser of what others give.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from search.data.depth_code import DepthCode
from search.data.files import StoredFrame, files_by_stem, folders_in, stored_data
from search.data.frames import Data
from search.data.truth import METRES
from search.errors import InvalidData

SPLITS = "official_splits"
_IMAGE, _DEPTH, _MILLIMETRES = "rgb_", "sync_depth_", DepthCode(0.001)
_HELD_OUT = 10  # one in so many training frames is for validation


def open_nyudv2(folder: Path) -> Data:
    """The data set in its folder, or in ``official_splits`` there.

    It has no validation frames of its own: of each sort of scene the last tenth of the training frames is
    ``val``, in order, since neighbours show the same room. ``trainval`` is all 795.

    Raises InvalidData: nothing of it there.
    """
    root = folder / SPLITS if (folder / SPLITS).is_dir() else folder
    if not any((root / split).is_dir() for split in ("train", "test")):
        if next(folder.glob("*.mat"), None):
            raise InvalidData(
                f"{folder}: its .mat files are not read; write their frames as images first, which takes a "
                "script of 20 lines (docs/data.md, NYU Depth V2)"
            )
        raise InvalidData(
            f"{folder}: no NYU Depth V2 there; allowed: the folder that has {SPLITS}, with train and test "
            "(docs/data.md)"
        )
    train: list[StoredFrame] = []
    val: list[StoredFrame] = []
    for frames in _scenes(root / "train"):
        first = len(frames) - len(frames) // _HELD_OUT
        train += frames[:first]
        val += frames[first:]
    test = [frame for frames in _scenes(root / "test") for frame in frames]
    return stored_data("nyudv2", folder, {"train": train, "val": val, "test": test}, METRES)


def _scenes(split: Path) -> Iterator[Sequence[StoredFrame]]:
    """Frames of each sort of scene, in order."""
    for scene in folders_in(split) if split.is_dir() else []:
        images = files_by_stem(split / scene)
        yield [
            StoredFrame(f"{scene}/{stem.removeprefix(_IMAGE)}", path, _depth_of(path, stem), _MILLIMETRES)
            for stem, path in sorted(images.items())
            if stem.startswith(_IMAGE)
        ]


def _depth_of(image: Path, stem: str) -> Path:
    return image.with_name(f"{_DEPTH}{stem.removeprefix(_IMAGE)}.png")
