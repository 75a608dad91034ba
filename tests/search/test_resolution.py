import re

import pytest

from search.errors import InvalidResolution
from search.resolution import Resolution


@pytest.mark.parametrize(
    ("text", "size"),
    [("64x64", (64, 64)), ("65x97", (65, 97)), (" 1024X2048\n", (1024, 2048)), ("8192x64", (8192, 64))],
)
def test_height_comes_first(text: str, size: tuple[int, int]) -> None:
    parsed = Resolution.parse(text)
    assert (parsed.height, parsed.width) == size
    assert Resolution.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("0x0", "64x64"),
        ("7x7", "64x64"),
        ("63x100", "64x100"),
        ("100x8193", "100x8192"),
        ("1x9999", "64x8192"),
    ],
)
def test_a_size_out_of_range_gets_the_nearest(text: str, nearest: str) -> None:
    expected = f"resolution {text}: sides must be 64 to 8192 pixels; the nearest that works is {nearest}"
    with pytest.raises(InvalidResolution, match=f"^{re.escape(expected)}$"):
        Resolution.parse(text)
    Resolution.parse(nearest)


@pytest.mark.parametrize("text", ["abc", "10x", "x10", "", "64", "64x64x3", "-64x64", "64.0x64", "64 x 64"])
def test_what_is_no_size_gets_an_example(text: str) -> None:
    expected = f"resolution {text!r}: write HEIGHTxWIDTH in pixels, for example 512x1024"
    with pytest.raises(InvalidResolution, match=f"^{re.escape(expected)}$"):
        Resolution.parse(text)
