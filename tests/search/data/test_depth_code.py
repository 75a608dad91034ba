"""Depth as files hold it."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data.depth_code import DepthCode
from search.data.files import StoredFrame
from search.errors import InvalidData

from .packagings import noise, write

MILLIMETRES, METRES = DepthCode(0.001), DepthCode(1.0)
SIZE = (12, 16)


def frame(
    folder: Path, depth: np.ndarray, *, ending: str = ".png", code: DepthCode = MILLIMETRES
) -> StoredFrame:
    image = write(folder / "a.jpg", noise(0, SIZE))
    path = folder / f"depth{ending}"
    Image.fromarray(depth).save(path)
    return StoredFrame("a", image, path, code)


def steps(value: int = 1234) -> np.ndarray:
    found = np.full(SIZE, value, np.uint16)
    found[0, 0] = 0
    return found


def test_sixteen_bits_of_millimetres(tmp_path: Path) -> None:
    stored = frame(tmp_path, steps())
    assert stored.faults(SIZE, decode=True) == []
    _, depth = stored.load()
    assert (depth.dtype, depth.shape) == (np.float32, SIZE)
    assert (depth[0, 0], depth[5, 5]) == (0, np.float32(1.234))
    assert MILLIMETRES.decode(Image.fromarray(steps(65535)), Path("x")).max() == pytest.approx(65.535)


def test_floating_point_metres(tmp_path: Path) -> None:
    depth = np.linspace(0, 7, 12 * 16, dtype=np.float32).reshape(SIZE)
    _, found = frame(tmp_path, depth, ending=".tif", code=METRES).load()
    assert np.array_equal(found, depth)


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "depth nan in 1 pixel"), (np.inf, "depth inf in 1 pixel"), (-1.5, "depth -1.5 in 1 pixel")],
)
def test_what_is_no_distance_is_refused(value: float, said: str, tmp_path: Path) -> None:
    depth = np.ones(SIZE, np.float32)
    depth[3, 4] = value
    stored = frame(tmp_path, depth, ending=".tif", code=METRES)
    (fault,) = stored.faults(SIZE, decode=True)
    assert fault == f"{stored.labels}: {said}; allowed: numbers from 0 up, 0 where nobody measured"
    with pytest.raises(InvalidData, match=re.escape(fault)):
        stored.load()


def test_negative_whole_numbers_too(tmp_path: Path) -> None:
    depth = np.full(SIZE, -3, np.int32)
    assert "depth -3 in 192 pixels" in frame(tmp_path, depth, ending=".tif").faults(SIZE, decode=True)[0]


@pytest.mark.parametrize("pixels", [noise(1, SIZE), noise(1, SIZE)[..., 0]], ids=["colours", "8 bits"])
def test_eight_bits_and_colours_tell_no_distance(pixels: np.ndarray, tmp_path: Path) -> None:
    (fault,) = frame(tmp_path, pixels).faults(SIZE, decode=True)
    assert "which are colours or of 8 bits; depth is gray of 16 bits (PNG), or floating-point" in fault


def test_a_depth_map_of_another_size_than_its_frame(tmp_path: Path) -> None:
    stored = frame(tmp_path, steps()[:-1])
    said = f"{stored.labels}: 11x16 pixels, its image a.jpg has 12x16"
    assert stored.faults(None, decode=True) == [said]
    with pytest.raises(InvalidData, match=re.escape(said)):
        stored.load()


def test_a_scale_that_cannot_be(tmp_path: Path) -> None:
    (fault,) = frame(tmp_path, steps(60000), code=DepthCode(10.0)).faults(SIZE, decode=True)
    assert fault.endswith("a depth of 6e+05 m; allowed: up to 100,000 m: is it 10 m a step?")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    stored = frame(tmp_path, steps())
    stored.labels.write_bytes(stored.labels.read_bytes()[:60])
    (fault,) = stored.faults(SIZE, decode=True)
    assert fault.startswith(f"{stored.labels}: ")
