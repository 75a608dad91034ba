"""MPII and folders of people, small, in the layouts in which they are handed out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from search.data.key_points import KEY_POINTS

MPII = KEY_POINTS["mpii"].names
POINTS = [[100.0 + 5 * index, 80.0 + 3 * index] for index in range(16)]  # as MATLAB counts, from 1


def picture(path: Path, size: tuple[int, int] = (240, 320)) -> Path:
    """An image whose red tells the column, and whose green tells the row."""
    rows, columns = np.indices(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([columns * 255 // size[1], rows * 255 // size[0], np.full(size, 90)], 2)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def entry(image: str = "a.png", **changes: Any) -> dict[str, Any]:
    """A person as train.json has them."""
    person = {
        "image": image,
        "center": [140.0, 110.0],
        "scale": 0.6,
        "joints": POINTS,
        "joints_vis": [1] * 16,
    }
    return {**person, **changes}


def mpii_json(folder: Path, train: list[Any], val: list[Any] | None = None) -> Path:
    """The layout of "Simple Baselines"."""
    picture(folder / "images" / "a.png")
    (folder / "annot").mkdir()
    for name, people in (("train", train), ("valid", val)):
        if people is not None:
            (folder / "annot" / f"{name}.json").write_text(json.dumps(people), encoding="utf-8")
    return folder


def mpii_matlab(folder: Path, films: tuple[int, ...] = (10, 3), trained: tuple[int, ...] = (1, 1)) -> Path:
    """MPII's own file, of a picture a film with two people each, of the second of whom nothing is known."""
    pictures = np.zeros(len(films), dtype=[("image", "O"), ("annorect", "O"), ("vididx", "O")])
    for index, film in enumerate(films):
        name = f"{index}.png"
        picture(folder / "images" / name)
        points = np.zeros(15, dtype=[("x", "O"), ("y", "O"), ("id", "O"), ("is_visible", "O")])
        for place in range(15):  # the last one is missing
            points[place] = (*POINTS[place], place, "1" if place % 2 else 1)
        people = np.zeros(
            2, dtype=[(key, "O") for key in ("x1", "y1", "x2", "y2", "annopoints", "scale", "objpos")]
        )
        people[0] = (120, 60, 150, 100, {"point": points}, 0.6, {"x": 140, "y": 110})
        people[1] = tuple(np.zeros((0, 0)) for _ in range(7))
        pictures[index] = ({"name": name}, people, film)
    release = {"annolist": pictures, "img_train": np.array(trained, np.uint8)}
    scipy.io.savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release}, do_compression=True)
    return folder


YAML = """
schema_version: 1
name: waving
task: pose
key_points:
  names: [head, neck, l_hand, r_hand]
  skeleton: [[head, neck], [neck, l_hand], [neck, r_hand]]
  mirrored: [[l_hand, r_hand]]
head: [head, neck]
size: [96, 96]
splits:
  train: {images: images, people: train.json}
  val: {images: images, people: "people/{name}.json"}
"""
WAVING = {"head": [100, 40], "neck": [100, 60], "l_hand": [140, 50], "r_hand": [60, 50]}


def people_folder(folder: Path, train: Any = None, text: str = YAML) -> Path:
    """A set of the user's own, of two pictures."""
    for name in ("a.png", "b.png"):
        picture(folder / "images" / name)
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")
    people = [{"image": "a.png", "points": WAVING}] if train is None else train
    (folder / "train.json").write_text(json.dumps(people), encoding="utf-8")
    (folder / "people").mkdir()
    own = {"points": WAVING, "head_size": 25, "box": [40, 20, 160, 140]}
    for name in ("a", "b"):
        (folder / "people" / f"{name}.json").write_text(json.dumps([own]), encoding="utf-8")
    return folder
