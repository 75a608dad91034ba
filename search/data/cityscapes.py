"""Cityscapes in its own folder layout, fine and coarse, or a few frames of it in one folder.

Labels are read from ``labelIds``, ``labelTrainIds`` or ``color`` files, the first that a frame has. The 19
classes that are scored keep their places (trainId), everything else is ignored. In colour, pole groups look
like poles and licence plates like cars, and are taken for those.
"""

from collections.abc import Iterable
from pathlib import Path

from search.data.classes import CLASSES, IGNORE
from search.data.files import LabelCode, StoredFrame, stored_data
from search.data.frames import Data
from search.errors import InvalidData

IMAGES, IMAGE_ENDING = "leftImg8bit", "_leftImg8bit.png"
NUM_IDS = 34  # ids of labels, those that are not scored too
UNSCORED_COLOURS = (
    *((0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140), (180, 165, 180)),
    *((150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110)),
)
_CLASSES = CLASSES["cityscapes"]
_COLOURS = {
    **{colour: IGNORE for colour in UNSCORED_COLOURS},
    **{entry.color: index for index, entry in enumerate(_CLASSES)},
}
_IDS = LabelCode(
    values={
        **{label: IGNORE for label in range(NUM_IDS)},
        **{entry.id: index for index, entry in enumerate(_CLASSES)},
    },
    colours=_COLOURS,
)
_TRAIN_IDS = LabelCode(
    values={**{index: index for index in range(len(_CLASSES))}, IGNORE: IGNORE}, colours=_COLOURS
)
CODES = {"labelIds": _IDS, "labelTrainIds": _TRAIN_IDS, "color": _IDS}  # by kind of file, the best first


def open_cityscapes(folder: Path, *, coarse: bool = False) -> Data:
    """Cityscapes in a folder; a split is there where its images and its labels are.

    Args:
        coarse: take the coarse labels, and for training the frames that have no others too (train_extra).

    Raises:
        InvalidData: none of it in this folder.
    """
    kind = "gtCoarse" if coarse else "gtFine"
    if (folder / IMAGES).is_dir() and (folder / kind).is_dir():
        parts = {"train": ("train", "train_extra"), "val": ("val",), "test": ("test",)}
        splits = {
            split: [frame for name in names for frame in _of_split(folder, name, kind)]
            for split, names in parts.items()
        }
    elif any(folder.glob(f"*{IMAGE_ENDING}")):
        splits = {"val": _pairs(folder, folder, folder.glob("*.png"), kind)}
    else:
        raise InvalidData(
            f"{folder}: no Cityscapes: it has neither {IMAGES}/ with {kind}/ nor files *{IMAGE_ENDING}; "
            "name the folder that holds them"
        )
    return stored_data("cityscapes", folder, splits)


def _of_split(folder: Path, name: str, kind: str) -> list[StoredFrame]:
    images, labels = folder / IMAGES / name, folder / kind / name
    if not (images.is_dir() and labels.is_dir()):
        return []
    frames = []
    for city in sorted({path.name for path in (*images.iterdir(), *labels.iterdir()) if path.is_dir()}):
        files = [*(images / city).glob("*.png"), *(labels / city).glob("*.png")]
        frames += _pairs(images / city, labels / city, files, kind)
    return frames


def _pairs(images: Path, labels: Path, files: Iterable[Path], kind: str) -> list[StoredFrame]:
    """Frames of which there is an image, or labels, or both: reading them tells what is missing."""
    there = {path.name for path in files}
    endings = {f"_{kind}_{label}.png": code for label, code in CODES.items()}
    names = {
        name.removesuffix(ending)
        for name in there
        for ending in (IMAGE_ENDING, *endings)
        if name.endswith(ending)
    }
    frames = []
    for name in sorted(names):
        ending = next((ending for ending in endings if name + ending in there), next(iter(endings)))
        frames.append(
            StoredFrame(name, images / (name + IMAGE_ENDING), labels / (name + ending), endings[ending])
        )
    return frames
