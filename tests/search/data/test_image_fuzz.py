"""Images and labels that were damaged in any way: read, or refused in one line, within seconds."""

import io

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from search.data import image_files
from search.data.camvid import CODE
from search.data.files import StoredFrame
from search.data.image_files import read_image
from search.data.plain_images import ImageError
from search.errors import InvalidData

from .test_plain_images import encoded, photo, png

pytestmark = pytest.mark.slow


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, photo())
    return file.getvalue()


def tagged(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(photo(), kind, exif=exif)


DEEP = photo()[:, :, 0].astype(np.uint16) * 257
WHOLE = {
    "png": tagged("PNG"),
    "gray png": encoded(DEEP),
    "palette": png(4, 2, b"\0\0\1\2\3" * 2, colour=3, palette=[(128, 128, 128), (128, 0, 0), (0, 0, 0)]),
    "jpeg": tagged("JPEG"),
    "progressive": encoded(photo(), "JPEG", progressive=True),
    "bmp": encoded(photo(), "BMP"),
    "tiff": tagged("TIFF"),
    "deflated": encoded(DEEP, "TIFF", compression="tiff_adobe_deflate"),
    "webp": tagged("WEBP"),
    "ppm": encoded(photo(), "PPM"),
    "npy": npy(),
}
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 8)), min_size=1, max_size=4
)


def damaged(content: bytes, changes: list[tuple[float, bytes, int]]) -> bytes:
    """At each place, some bytes are replaced by others; most places are in the head, where it hurts."""
    for share, written, removed in changes:
        at = int(share**3 * len(content))
        content = content[:at] + written + content[at + removed :]
    return content


@seed(13)
@settings(max_examples=4000, deadline=4000, database=None)
@given(st.sampled_from(sorted(WHOLE)), CHANGES, st.booleans())
def test_images(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[float, bytes, int]], plain: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "image"
    path.write_bytes(damaged(WHOLE[kind], changes))
    with pytest.MonkeyPatch.context() as patch:
        if plain:
            patch.setattr(image_files, "_pillow", lambda: None)
        said, pixels = str(path), np.zeros((1, 1, 3), np.uint8)
        try:
            pixels = read_image(path)
        except ImageError as error:
            said = str(error)
    assert said.startswith(str(path))
    assert said.isprintable()
    assert len(said) < 500
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)


@seed(13)
@settings(max_examples=2000, deadline=4000, database=None)
@given(st.sampled_from(["gray png", "palette", "png", "tiff", "bmp"]), CHANGES)
def test_labels(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[float, bytes, int]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    image, labels = folder / "whole", folder / "labels"
    image.write_bytes(WHOLE["bmp"])
    labels.write_bytes(damaged(WHOLE[kind], changes))
    frame = StoredFrame("a", image, labels, CODE)
    said = frame.faults(None, decode=True)
    try:
        frame.load()
    except InvalidData as error:
        said.append(str(error))
    for line in said:
        assert line.startswith(str(labels))
        assert line.isprintable()
