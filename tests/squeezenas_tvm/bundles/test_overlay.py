"""Overlays: colours where the classes are, and a legend that fits whatever the picture's size."""

import numpy as np
import pytest
from PIL import Image

from search.data.classes import CLASSES as KNOWN
from search.data.classes import unnamed
from squeezenas_tvm.bundles.assemble import label_entries
from squeezenas_tvm.bundles.overlay import OPACITY, draw_overlay
from squeezenas_tvm.bundles.panel import PANEL

CLASSES = label_entries(KNOWN["cityscapes"])


def halves(height: int, width: int) -> np.ndarray:
    """Sky above road."""
    labels = np.full((height, width), 10, np.uint8)
    labels[height // 2 :] = 0
    return labels


def test_picture_is_tinted_by_class() -> None:
    image = np.full((600, 800, 3), 100, np.uint8)
    pixels = np.asarray(draw_overlay(image, halves(600, 800), CLASSES))
    assert pixels.shape[0] == 600
    for row, index in ((10, 10), (590, 0)):
        expected = 100 * (1 - OPACITY) + np.array(CLASSES[index]["color"]) * OPACITY
        assert np.abs(pixels[row, 400] - expected).max() <= 1


def test_pixels_of_no_class_are_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (520, 520, 3), np.uint8)
    pixels = np.asarray(draw_overlay(image, np.full((520, 520), 255, np.uint8), CLASSES))
    assert np.array_equal(pixels[:, :520], image)


@pytest.mark.parametrize("size", [(1, 8000), (8000, 1)])
def test_a_strip_has_a_legend_of_its_size(size: tuple[int, int]) -> None:
    picture = draw_overlay(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), CLASSES, title="strip")
    assert picture.width * picture.height < 4e6


def test_legend_shows_the_classes_present_only() -> None:
    image = np.zeros((600, 800, 3), np.uint8)
    panel = np.asarray(draw_overlay(image, halves(600, 800), CLASSES))[:, 800:].reshape(-1, 3)
    shown = {entry["name"] for entry in CLASSES if (panel == entry["color"]).all(-1).sum() > 100}
    assert shown == {"sky", "road"}


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (64, 1024), (1024, 64), (1024, 2048)])
def test_all_classes_fit_at_every_size(size: tuple[int, int]) -> None:
    labels = (np.arange(size[0] * size[1]).reshape(size) % 19).astype(np.uint8)
    picture = draw_overlay(
        np.zeros((*size, 3), np.uint8),
        labels,
        CLASSES,
        title="network",
        notes=("a", "b"),
        warning="mind " * 20,
    )
    pixels = np.asarray(picture)
    assert max(picture.size) >= 512
    assert {tuple(pixel) for pixel in pixels[-4:, -4:].reshape(-1, 3)} == {PANEL}  # nothing runs over the end
    assert all((pixels == entry["color"]).all(-1).sum() > 60 for entry in CLASSES)


@pytest.mark.parametrize("count", [2, 255])
def test_any_number_of_classes(count: int) -> None:
    labels = (np.arange(256 * 512).reshape(256, 512) // 512).astype(np.uint8)  # 255, too, which is none
    pixels = np.asarray(
        draw_overlay(np.zeros((256, 512, 3), np.uint8), labels, label_entries(unnamed(count)))
    )
    panel = {tuple(pixel) for pixel in pixels[:, 512:].reshape(-1, 3)}
    assert {entry.color for entry in unnamed(count)} <= panel
    assert unnamed(count + 1)[-1].color not in panel


def test_warning_is_in_the_picture() -> None:
    arguments = (np.zeros((600, 800, 3), np.uint8), halves(600, 800), CLASSES)
    assert draw_overlay(*arguments, warning="untrained").tobytes() != draw_overlay(*arguments).tobytes()


def test_inputs_are_not_changed() -> None:
    image, labels = np.zeros((32, 32, 3), np.uint8), halves(32, 32)
    before = labels.copy()
    assert isinstance(draw_overlay(image, labels, CLASSES), Image.Image)
    assert not image.any()
    assert np.array_equal(labels, before)
