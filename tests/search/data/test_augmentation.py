"""Augmentation: image and labels stay together, numbers decide everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.data import Augmentation, open_data
from search.data.augmentation import PADDING
from search.data.classes import IGNORE

SCENE = open_data("synthetic:1:64x96").frames("train")[0]
# Labels that can be read off the image: each class is one gray.
LABELS = np.repeat(np.repeat(np.arange(48, dtype=np.uint8).reshape(6, 8), 8, 0), 8, 1)
IMAGE = np.repeat(4 * LABELS[..., None], 3, 2)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.lists(st.floats(0.1, 3), min_size=2, max_size=2).map(sorted),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_any_numbers_give_a_crop(crop: tuple[int, int], scale: list[float], colour: float, seed: int) -> None:
    augmentation = Augmentation(crop, (scale[0], scale[1]), True, colour)
    image, labels = augmentation.apply(*SCENE, rng(seed))
    assert (image.shape, image.dtype) == ((*crop, 3), np.uint8)
    assert (labels.shape, labels.dtype) == (crop, np.uint8)
    again = augmentation.apply(*SCENE, rng(seed))
    assert np.array_equal(image, again[0])
    assert np.array_equal(labels, again[1])
    assert set(np.unique(labels)) <= {*np.unique(SCENE[1]), IGNORE}


def test_without_any_change_it_is_the_frame() -> None:
    image, labels = Augmentation((64, 96)).apply(*SCENE, rng())
    assert np.array_equal(image, SCENE[0])
    assert np.array_equal(labels, SCENE[1])


def test_crops_are_pieces_of_the_frame_from_everywhere() -> None:
    places = set()
    for seed in range(300):
        image, labels = Augmentation((47, 61)).apply(IMAGE, LABELS, rng(seed))
        (place,) = [
            (y, x)
            for y in range(2)
            for x in range(4)
            if np.array_equal(labels, LABELS[y : y + 47, x : x + 61])
        ]
        assert np.array_equal(image[..., 0], 4 * labels)
        places.add(place)
    assert len(places) == 2 * 4


@pytest.mark.parametrize("scale", [0.5, 0.83, 1.0, 1.6, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_labels_stay_where_the_image_shows_them(scale: float, flip: bool) -> None:
    """Image and labels both say how far right (or down) a pixel was: they agree to a pixel of the frame."""
    down, right = np.mgrid[:48, :64].astype(np.uint8)
    for places in (down, right):
        frame = np.repeat(3 * places[..., None], 3, 2)
        for seed in range(10):
            image, labels = Augmentation((40, 40), (scale, scale), flip).apply(frame, places, rng(seed))
            seen = labels != IGNORE
            assert np.array_equal(image[~seen], np.broadcast_to(PADDING, (np.sum(~seen), 3)))
            assert np.abs(image[seen][:, 0] / 3 - labels[seen]).max() <= 1


def test_a_small_frame_lies_in_padding_at_any_place() -> None:
    starts = set()
    for seed in range(200):
        _, labels = Augmentation((30, 70), (0.5, 0.5)).apply(IMAGE, LABELS, rng(seed))
        rows, columns = (np.flatnonzero((labels != IGNORE).any(axis)) for axis in (1, 0))
        assert (len(rows), len(columns)) == (24, 32)
        assert np.ptp(rows) == 23
        starts.add((rows[0], columns[0]))
    assert {row for row, _ in starts} == set(range(7))
    assert min(column for _, column in starts) < 3
    assert max(column for _, column in starts) > 35


def test_half_of_the_frames_are_mirrored() -> None:
    flipped = 0
    for seed in range(200):
        image, labels = Augmentation((48, 64), flip=True).apply(IMAGE, LABELS, rng(seed))
        flipped += np.array_equal(labels, LABELS[:, ::-1]) and np.array_equal(image, IMAGE[:, ::-1])
    assert 70 < flipped < 130


def test_scales_span_what_was_asked_for() -> None:
    widths = []
    for seed in range(100):
        _, labels = Augmentation((100, 130), (0.5, 2.0)).apply(IMAGE, LABELS, rng(seed))
        widths.append(np.sum((labels != IGNORE).any(0)))
    assert min(widths) < 32 * 1.15
    assert max(widths) > 128 * 0.9
    assert 64 < np.median(widths) < 96


def test_colour_against_the_definitions() -> None:
    image = SCENE[0].astype(float)
    factors = rng(7)
    factors.uniform(1, 1), factors.random(2)
    brightness, contrast, saturation = factors.uniform(0.5, 1.5, 3)
    luma = np.array([0.299, 0.587, 0.114])
    bright = brightness * image
    contrasted = contrast * bright + (1 - contrast) * (bright[::4, ::4] @ luma).mean()
    expected = saturation * contrasted + (1 - saturation) * (contrasted @ luma)[..., None]
    changed, labels = Augmentation((64, 96), colour=0.5).apply(*SCENE, rng(7))
    assert np.abs(changed - expected.clip(0, 255)).max() <= 1
    assert np.array_equal(labels, SCENE[1])
    assert np.abs(changed - image).mean() > 3


def test_one_of_some_scales() -> None:
    sizes = set()
    for seed in range(40):
        _, labels = Augmentation((90, 90), (5, 9), scales=(0.75, 1, 1.25)).apply(IMAGE, LABELS, rng(seed))
        sizes.add(tuple((labels != IGNORE).any(axis).sum() for axis in (1, 0)))
    assert sizes == {(36, 48), (48, 64), (60, 80)}


def test_padding_keeps_its_colour() -> None:
    image, labels = Augmentation((60, 80), colour=1).apply(IMAGE, LABELS, rng(1))
    assert (image[labels == IGNORE] == PADDING).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"crop": (0, 5)}, "crop 0x5: sides must be at least 1 pixel"),
        ({"crop": (5, 5), "scale": (2, 1)}, "scale 2 to 1: must be above 0, the smaller first"),
        ({"crop": (5, 5), "scale": (0, 1)}, "scale 0 to 1: must be above 0"),
        ({"crop": (5, 5), "scales": (1, 0)}, "scales 1, 0: must be above 0"),
        ({"crop": (5, 5), "colour": 1.5}, "colour 1.5: must be 0 to 1"),
    ],
)
def test_numbers_that_cannot_be(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Augmentation(**arguments)  # type: ignore[arg-type]
