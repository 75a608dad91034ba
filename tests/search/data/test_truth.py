"""What crops make of truth."""

import numpy as np
import pytest

from search.data.augmentation import Augmentation
from search.data.classes import IGNORE
from search.data.truth import CLASS_INDICES, METRES
from search.data.window import Span, Window

DEPTH = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
IMAGE = np.zeros((3, 4, 3), np.uint8)


def window(scale: float, crop: tuple[int, int], share: float = 0.0, *, flipped: bool = False) -> Window:
    spans = (Span.of(length, side, scale, share) for length, side in zip(DEPTH.shape, crop, strict=True))
    rows, columns = spans
    return Window(rows, columns, crop, scale, flipped)


def test_a_crop_and_its_mirror() -> None:
    assert METRES.cropped(DEPTH, window(1, (2, 3))).tolist() == [[1, 2, 3], [5, 6, 7]]
    assert METRES.cropped(DEPTH, window(1, (2, 3), flipped=True)).tolist() == [[3, 2, 1], [7, 6, 5]]


def test_what_is_twice_as_large_is_half_as_far() -> None:
    """And no depth is made up between two: 1 and 2 m become 0.5 and 1 m, none 0.75."""
    found = METRES.cropped(DEPTH, window(2, (6, 8)))
    assert np.array_equal(found, (DEPTH / 2).repeat(2, 0).repeat(2, 1))
    assert found.dtype == np.float32


def test_a_missing_measurement_stays_one() -> None:
    holed = np.where(DEPTH == 6, 0, DEPTH).astype(np.float32)
    found = METRES.cropped(holed, window(2, (6, 8)))
    assert (found == 0).sum() == 4
    assert METRES.counts(holed)
    assert not METRES.counts(np.zeros((3, 4), np.float32))


def test_beyond_the_frame_nothing_is_measured_or_labelled() -> None:
    small = window(0.5, (4, 4), share=0.5)
    found = METRES.cropped(DEPTH, small)
    assert (found > 0).sum() == 2 * 2
    assert found.max() > DEPTH.max()  # half as large is twice as far
    labels = CLASS_INDICES.cropped(np.ones((3, 4), np.uint8), small)
    assert np.array_equal(labels == IGNORE, found == 0)


@pytest.mark.parametrize("seed", range(5))
def test_depth_goes_where_its_pixels_go(seed: int) -> None:
    """A frame whose brightness tells its depth still does after any crop."""
    depth = np.random.default_rng(0).integers(1, 200, (40, 60)).astype(np.float32)
    depth = depth.repeat(8, 0).repeat(8, 1)
    image = np.stack([depth.astype(np.uint8)] * 3, axis=-1)
    augmentation = Augmentation((90, 110), (1.0, 1.0), flip=True)
    seen, told = augmentation.apply(image, depth, np.random.default_rng(seed), METRES)
    assert np.array_equal(seen[..., 0], told.astype(np.uint8))
