"""Cityscapes in its own folder layout, fine and coarse, or a few frames of it in one folder.

Labels are read from ``labelIds``, ``labelTrainIds`` or ``color`` files, the first that a frame has. The 19
classes that are scored keep their places (trainId), everything else is ignored. In colour, pole groups look
like poles and licence plates like cars, and are taken for those.
"""

from itertools import chain
from pathlib import Path

from search.data.classes import CLASSES, IGNORE
from search.data.files import LABEL_ENDINGS, StoredFrame, files_by_stem, folders_in, stored_data
from search.data.frames import Data
from search.data.label_code import LabelCode
from search.errors import InvalidData

IMAGES = "leftImg8bit"
IMAGE_SUFFIX = f"_{IMAGES}"
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
    elif files_by_stem(folder, suffix=IMAGE_SUFFIX):
        splits = {"val": _pairs(folder, folder, kind)}
    else:
        raise InvalidData(
            f"{folder}: no Cityscapes: it has neither {IMAGES}/ with {kind}/ nor files *{IMAGE_SUFFIX}.png; "
            "name the folder that holds them"
        )
    return stored_data("cityscapes", folder, splits)


def _of_split(folder: Path, name: str, kind: str) -> list[StoredFrame]:
    images, labels = folder / IMAGES / name, folder / kind / name
    if not (images.is_dir() and labels.is_dir()):
        return []
    cities = sorted({*folders_in(images), *folders_in(labels)})
    return [frame for city in cities for frame in _pairs(images / city, labels / city, kind)]


def _pairs(images: Path, labels: Path, kind: str) -> list[StoredFrame]:
    """Frames of which there is an image, or labels, or both: reading them tells what is missing."""
    pictures = files_by_stem(images, suffix=IMAGE_SUFFIX)
    suffixes = {label: f"_{kind}_{label}" for label in CODES}
    kinds = {label: files_by_stem(labels, LABEL_ENDINGS, suffix) for label, suffix in suffixes.items()}
    frames = []
    for name in sorted({*pictures, *chain.from_iterable(kinds.values())}):
        label = next((label for label, files in kinds.items() if name in files), next(iter(CODES)))
        image = pictures.get(name, images / f"{name}{IMAGE_SUFFIX}.png")
        marks = kinds[label].get(name, labels / f"{name}{suffixes[label]}.png")
        frames.append(StoredFrame(name, image, marks, CODES[label]))
    return frames
