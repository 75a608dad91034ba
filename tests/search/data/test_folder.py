"""Data sets of the user's own: every way to write one."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import Augmentation, open_data
from search.data.classes import IGNORE, unnamed
from search.data.loaders import eval_loader, train_loader
from search.errors import InvalidData

from .packagings import (
    ONE,
    THREE,
    UNSURE,
    describe,
    noise,
    one_frame,
    opened,
    orchard,
    refusal,
    three_classes,
    write,
)

NAMES = list(THREE)
CLASSES = [{"name": name, "color": list(color)} for name, color in THREE.items()]


@pytest.mark.parametrize("labels", ["index", "color"])
def test_index_and_colour_are_the_same_labels(labels: str, tmp_path: Path) -> None:
    data = opened(three_classes(tmp_path, labels=labels))
    data.check()
    assert (data.name, data.class_names, data.num_classes) == ("orchard", NAMES, 3)
    assert (data.colours, data.categories, data.frame_size) == (list(THREE.values()), [], (64, 96))
    assert {split: len(frames) for split, frames in data.splits.items()} == {"train": 3, "val": 2, "test": 2}
    assert data.frames("val").names == ["images/val/000", "images/val/001"]
    for index, (image, marks) in enumerate(data.frames("val")):
        expected = orchard(100 + index, (64, 96))
        assert np.array_equal(image, expected[0])
        assert np.array_equal(marks, expected[1])
        assert set(marks[0]) == {IGNORE}


def test_a_frame_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    data = opened(three_classes(tmp_path))
    shutil.rmtree(tmp_path / "labels")
    with pytest.raises(InvalidData, match=r"labels/train/001\.png: no such file$"):
        data.frames("train")[1]


def test_frames_can_be_sent_to_workers(tmp_path: Path) -> None:
    frames = opened(three_classes(tmp_path, labels="color")).frames("val")
    assert np.array_equal(pickle.loads(pickle.dumps(frames))[1][1], frames[1][1])


def test_values_of_classes_and_values_that_do_not_count(tmp_path: Path) -> None:
    labels = np.array([[0, 7, 8], [200, 9, 254]], np.uint8)
    values = {0: "tree", 7: "ground", 8: "ground", 200: "fruit"}
    data = opened(one_frame(tmp_path, labels, values=values, ignore=[254, 9]))
    data.check()
    assert data.frames("train")[0][1].tolist() == [[1, 0, 0], [2, IGNORE, IGNORE]]
    assert [entry.id for entry in data.classes] == [7, 0, 200]  # what ``run`` writes into label images


def test_palettes(tmp_path: Path) -> None:
    """The palette's index is the value; its colours are what a set in colour goes by."""
    _, marks = orchard(1, (64, 96))
    marks = np.where(marks == 255, 3, marks).astype(np.uint8)
    picture = Image.fromarray(marks)
    picture.putpalette([channel for color in (*THREE.values(), UNSURE) for channel in color])
    for kind, ignored in (("index", 3), ("color", list(UNSURE))):
        folder = one_frame(tmp_path / kind, marks, labels=kind, ignore=[ignored])
        picture.save(folder / "labels" / "a.png", bits=2)
        data = opened(folder)
        data.check()
        assert np.array_equal(data.frames("train")[0][1], np.where(marks == 3, IGNORE, marks))


def test_one_bit_masks_and_gray_ones_in_colour(tmp_path: Path) -> None:
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    two = [{"name": "rest", "color": [0, 0, 0]}, {"name": "road", "color": [255, 255, 255]}]
    for kind, gray in (("index", False), ("color", False), ("color", True)):
        folder = tmp_path / f"{kind}-{gray}"
        pixels = mask.astype(np.uint8) * 255 if gray else mask
        data = opened(one_frame(folder, pixels, classes=two, labels=kind, ignore=None))
        data.check()
        assert data.num_classes == 2
        assert np.array_equal(data.frames("train")[0][1], mask)


@pytest.mark.parametrize("kind", ["index", "color"])
def test_as_many_classes_as_a_byte_tells_apart(kind: str, tmp_path: Path) -> None:
    classes = unnamed(255)
    marks = np.arange(256, dtype=np.uint8).reshape(16, 16)
    coded = marks if kind == "index" else np.array([*(c.color for c in classes), (0, 0, 0)], np.uint8)[marks]
    data = opened(
        one_frame(
            tmp_path,
            coded,
            classes=[{"name": entry.name, "color": list(entry.color)} for entry in classes],
            labels=kind,
            ignore=[255 if kind == "index" else [0, 0, 0]],
        )
    )
    data.check()
    assert data.classes == classes
    assert np.array_equal(data.frames("train")[0][1], marks)  # the last one is IGNORE
    ((_, labels),) = eval_loader(data.frames("train"), batch_size=1, workers=0)
    assert np.array_equal(labels[0], marks)


def test_jpeg_images_and_other_files_beside_them(tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((8, 8), np.uint8))
    write(tmp_path / "images" / "B.JPG", noise(1, (8, 8)))
    write(tmp_path / "labels" / "B.png", np.ones((8, 8), np.uint8))
    for name in ("notes.txt", "._a.png", "Thumbs.db", ".DS_Store"):
        (tmp_path / "images" / name).write_bytes(b"?")
    data = opened(tmp_path)
    data.check()
    assert data.frames("train").names == ["images/B", "images/a"]


@pytest.mark.parametrize(
    ("split", "lines"),
    [
        ({"list": "t.txt"}, "# mine\n\n images/a.png labels/a.png\r\nimages/b c.png\tlabels/b c.png\n"),
        ({"list": "t.txt", "images": "images", "labels": "labels"}, "a.png\nb c\n"),
        ({"list": "t.txt", "labels": "labels/{name}.png", "images": "images/"}, "\ufeffa\nb c.png"),
        ({"images": "images", "labels": "labels/{name}.png"}, ""),
    ],
)
def test_lists_and_rules(split: dict[str, str], lines: str, tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((4, 6), np.uint8), splits={"val": split})
    write(tmp_path / "images" / "b c.png", noise(1, (4, 6)))
    write(tmp_path / "labels" / "b c.png", np.ones((4, 6), np.uint8))
    (tmp_path / "t.txt").write_text(lines, encoding="utf-8")
    data = opened(tmp_path)
    data.check()
    assert data.frames("val").names == ["images/a", "images/b c"]
    assert [int(marks[0, 0]) for _, marks in data.frames("val")] == [0, 1]


def test_a_list_may_go_into_folders_below(tmp_path: Path) -> None:
    split = {"list": "t.txt", "images": "images", "labels": "masks/{name}_mask.png"}
    describe(tmp_path, splits={"train": split})
    write(tmp_path / "images" / "one" / "1.png", noise(0))
    write(tmp_path / "masks" / "one" / "1_mask.png", np.zeros((12, 16), np.uint8))
    (tmp_path / "t.txt").write_text("one/1\n", encoding="utf-8")
    opened(tmp_path).check()


@pytest.mark.parametrize(
    ("images", "labels", "rule"),
    [
        ("a.JPG", "a_L.png", "labels/{name}_L.png"),
        ("a.jpeg", "a_L.PNG", "labels/{name}_L.png"),
        ("a.tif", "a-mask.tif", "labels/{name}-mask.tif"),
        ("a.bmp", "a.bmp", "labels"),
        ("a.WebP", "a.TIFF", "labels"),
    ],
)
def test_endings_and_suffixes(images: str, labels: str, rule: str, tmp_path: Path) -> None:
    describe(tmp_path, splits={"train": {"images": "images", "labels": rule}})
    write(tmp_path / "images" / images, noise(0))
    write(tmp_path / "labels" / labels, np.ones((12, 16), np.uint8))
    for name in ("._" + images, "Thumbs.db", "desktop.ini"):
        (tmp_path / "images" / name).write_bytes(b"?")
        (tmp_path / "labels" / name).write_bytes(b"?")
    data = opened(tmp_path)
    data.check()
    assert data.frames("train").names == ["images/a"]
    assert data.frames("train")[0][1].all()


def test_a_suffix_of_labels_is_suggested(tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((4, 4), np.uint8))
    (tmp_path / "labels" / "a.png").rename(tmp_path / "labels" / "a_L.png")
    assert refusal(tmp_path).endswith(
        'splits.train.labels: no a.png in labels, but a_L.png; write labels: "labels/{name}_L.png"'
    )


def test_two_files_of_one_frame(tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((4, 4), np.uint8))
    write(tmp_path / "labels" / "a.bmp", np.zeros((4, 4), np.uint8))
    assert "splits.train.labels: labels/a.bmp and labels/a.png are of one image; allowed: one" in refusal(
        tmp_path
    )
    (tmp_path / "labels" / "a.bmp").unlink()
    write(tmp_path / "images" / "a.bmp", noise(0, (4, 4)))
    describe(tmp_path, splits={"train": {"list": "t.txt", "images": "images", "labels": "labels"}})
    (tmp_path / "t.txt").write_text("a\n", encoding="utf-8")
    assert "line 1: images/a.bmp and images/a.png are called so; write its ending too" in refusal(tmp_path)


def test_frames_of_several_sizes(tmp_path: Path) -> None:
    data = opened(three_classes(tmp_path, sizes=[(64, 96), (70, 65)]))
    data.check()
    assert data.frame_size is None
    frames = data.frames("train")
    loader = train_loader(frames, Augmentation((32, 32), (0.5, 2.0)), batch_size=3, workers=0, seed=0)
    assert [tuple(images.shape) for images, _ in loader.epoch(0)] == [(3, 3, 32, 32)]
    shapes = [tuple(labels.shape) for _, labels in eval_loader(frames, batch_size=1, workers=0)]
    assert shapes == [(1, 64, 96), (1, 70, 65), (1, 64, 96)]
    with pytest.raises(InvalidData, match=r"^frames that differ in size cannot stand in one batch; allowed"):
        list(eval_loader(frames, batch_size=2, workers=0))
    write(tmp_path / "labels" / "val" / "001.png", np.zeros((65, 70), np.uint8))
    assert refusal(tmp_path).endswith("labels/val/001.png: 65x70 pixels, its image 001.png has 70x65")


def test_categories(tmp_path: Path) -> None:
    classes = [
        {**entry, "category": "soil" if index == 0 else "plant"} for index, entry in enumerate(CLASSES)
    ]
    data = opened(one_frame(tmp_path, np.zeros((4, 4), np.uint8), classes=classes))
    assert data.categories == ["soil", "plant", "plant"]


def test_sets_are_joined_by_the_names_of_their_classes(tmp_path: Path) -> None:
    first = three_classes(tmp_path / "a")
    describe(tmp_path / "b", name="more", classes=CLASSES[::-1], splits={"train": ONE["train"]})
    image, marks = orchard(7, (64, 96))
    write(tmp_path / "b" / "images" / "x.png", image)
    write(tmp_path / "b" / "labels" / "x.png", np.where(marks == 255, 255, 2 - marks).astype(np.uint8))
    both = open_data(f"folder:{first}+folder:{tmp_path / 'b'}")
    both.check()
    assert (both.name, both.class_names) == ("orchard+more", NAMES)
    assert np.array_equal(both.frames("train")[3][1], marks)
    with pytest.raises(InvalidData, match=r"joined to orchard: its classes are others; .*: road, sidewalk"):
        open_data(f"folder:{first}+synthetic:3:64x96")
    write(tmp_path / "b" / "images" / "x.png", noise(0, (32, 32)))
    with pytest.raises(InvalidData, match="frames of more have 32x32 pixels, those of orchard 64x96"):
        open_data(f"folder:{first}+folder:{tmp_path / 'b'}")
