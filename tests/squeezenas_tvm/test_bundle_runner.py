"""The runner that travels in the bundle: images it reads, what the module says, use without our packages."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenas_tvm.bundle_runner import (
    Bundle,
    BundleError,
    dataset_ids,
    main,
    read_image,
    resize_bilinear,
    resize_nearest,
    statistics_ms,
    write_gray_png,
)

from .conftest import expected_labels


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def photo(height: int = 37, width: int = 53) -> np.ndarray:
    """Smooth with some noise, so that PNG writers choose all of their line filters."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 30, (height, width))
    planes = (x * 4 + noise, 3 * y + x, (x * y) // 9 + noise)
    return (np.stack(planes, axis=-1) & 255).astype(np.uint8)


def write_png(path: Path, pixels: np.ndarray, filters: list[int]) -> None:
    """An RGB PNG whose line ``y`` is stored with filter ``filters[y % n]``, by the text of the standard."""
    height, width, channels = pixels.shape
    padded = np.zeros((height + 1, width + 1, channels), int)
    padded[1:, 1:] = pixels
    lines = b""
    for y in range(height):
        kind = filters[y % len(filters)]
        line = bytearray([kind])
        for x in range(width):
            for c in range(channels):
                a, b, corner = padded[y + 1, x, c], padded[y, x + 1, c], padded[y, x, c]
                paeth = min((a, b, corner), key=lambda v, p=a + b - corner: abs(p - v))
                predicted = (0, a, b, (a + b) // 2, paeth)[kind]
                line.append(int(padded[y + 1, x + 1, c] - predicted) & 255)
        lines += bytes(line)
    body = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind_name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        body += struct.pack(">I", len(data)) + kind_name + data
        body += struct.pack(">I", zlib.crc32(kind_name + data))
    path.write_bytes(body)


def test_labels_are_those_of_the_network(sealed_bundle: Path, image: np.ndarray) -> None:
    labels = Bundle.load(sealed_bundle).segment(image)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, expected_labels(image))


def test_other_sizes_are_resized_and_back(sealed_bundle: Path) -> None:
    halves = np.zeros((128, 200, 3), np.uint8)
    halves[:, 100:] = (250, 10, 30)
    labels = Bundle.load(sealed_bundle).segment(halves)
    expected = expected_labels(halves)
    assert labels.shape == (128, 200)
    assert expected[0, 0] != expected[0, -1]
    assert np.mean(labels != expected) < 0.02  # pixels along the edge


def test_times_are_one_a_repeat(sealed_bundle: Path, image: np.ndarray) -> None:
    samples_ms = Bundle.load(sealed_bundle).time_ms(image, repeats=5, warmup=2)
    assert len(samples_ms) == 5
    assert min(samples_ms) > 0


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_png_as_pillow_reads_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(photo()).convert(mode).save(path)
    with Image.open(path) as picture:
        # Pillow would blend; we take the colours as they are stored.
        expected = np.asarray(picture.convert("RGBA").convert("RGB"))
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_png_line_filters(tmp_path: Path, filters: list[int]) -> None:
    pixels = photo(9, 14)
    write_png(tmp_path / "image.png", pixels, filters)
    assert np.array_equal(read_image(tmp_path / "image.png"), pixels)
    with Image.open(tmp_path / "image.png") as picture:  # the writer above is right, too
        assert np.array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("name", ["image.ppm", "image.bmp", "image.npy"])
def test_other_lossless_formats(tmp_path: Path, name: str) -> None:
    if name.endswith("npy"):
        np.save(tmp_path / name, photo())
    else:
        Image.fromarray(photo()).save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name), photo())


def test_pnm_with_comments_and_gray(tmp_path: Path) -> None:
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5\n# made by hand\n2 1\n255\n\x07\xff")
    assert read_image(path).tolist() == [[[7] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "is broken: "),
        ("a.ppm", b"P6 4 4 255\n123", "is broken: buffer is smaller than requested size"),
        (
            "a.ppm",
            b"P6 100000 100000 255\n1",
            "is broken: 100000 x 100000 pixels, allowed are 1 to 100000000",
        ),
        ("a.jpg", b"hello", "is not an image that can be read"),
        ("a.png", b"", "is not an image that can be read"),
    ],
)
def test_broken_images_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} {said}"):
        read_image(tmp_path / name)


def test_damaged_png_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo()).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"a\.png is broken: wrong check sum of PNG chunk IDAT"):
        read_image(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=r"a\.png is broken: "):
        read_image(path)


def test_arrays_that_are_no_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    with pytest.raises(BundleError, match=r"holds float64 \(4, 4\), an image is uint8 \(H, W, 3\)"):
        read_image(tmp_path / "a.npy")


def test_missing_image_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no\.png cannot be read: No such file"):
        read_image(tmp_path / "no.png")
    with pytest.raises(BundleError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


def test_gray_png_is_what_pillow_reads(tmp_path: Path) -> None:
    labels = photo()[:, :, 0]
    write_gray_png(tmp_path / "labels.png", labels)
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), labels)


def test_resizing() -> None:
    ramp = np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    wide = resize_bilinear(ramp, 2, 16)[0, :, 0]
    assert wide.tolist() == [0, 2, 8, 12, 18, 22, 28, 32, 38, 42, 48, 52, 58, 62, 68, 70]
    labels = np.array([[1, 2], [3, 4]], np.uint8)
    assert resize_nearest(labels, 4, 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert resize_nearest(resize_nearest(labels, 6, 4), 2, 2).tolist() == labels.tolist()


def test_dataset_ids_of_classes_and_of_no_class() -> None:
    classes = [{"index": 0, "id": 7}, {"index": 1, "id": 33}]
    assert dataset_ids(np.array([[0, 1, 9]], np.uint8), classes).tolist() == [[7, 33, 0]]


def test_statistics() -> None:
    stats = statistics_ms([4.0, 1.0, 2.0, 3.0, 10.0])
    assert stats["n"] == 5
    assert (stats["min"], stats["median"], stats["mean"]) == (1.0, 3.0, 4.0)
    assert stats["p10"] < stats["median"] < stats["p90"] < stats["p99"] < 10.0


def test_module_of_another_machine_is_refused(sealed_bundle: Path, tmp_path: Path) -> None:
    from squeezenas_tvm.bundle import assemble, seal

    from .conftest import tiny_manifest

    with assemble(tmp_path / "board") as folder:
        (folder / "model.so").write_bytes(b"\x7fELF of another machine")
        (folder / "network.onnx").touch()
        seal(folder, tiny_manifest(target="jetson-xavier"), dataset="cityscapes")
    with pytest.raises(
        BundleError, match=r"does not load on this machine \(.*\); it was made for jetson-xavier"
    ):
        Bundle.load(tmp_path / "board")


def test_missing_device_is_named(tmp_path: Path) -> None:
    from squeezenas_tvm.bundle import assemble, seal

    from .conftest import tiny_manifest

    with assemble(tmp_path / "board") as folder:
        (folder / "model.so").touch()
        (folder / "network.onnx").touch()
        seal(folder, tiny_manifest(target="jetson-xavier", device="vulkan"), dataset="cityscapes")
    with pytest.raises(
        BundleError, match="needs a vulkan device and this machine has none; run it on jetson"
    ):
        Bundle.load(tmp_path / "board")


def run_script(bundle: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The bundle's own script, in a Python that cannot see our packages."""
    hide = (
        "import runpy, sys\n"
        "for name in ('squeezenas_tvm', 'targets', 'cost_models', 'search', 'PIL', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", hide, str(bundle / "run.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_script_needs_none_of_our_packages(sealed_bundle: Path, tmp_path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(tmp_path / "street.png")
    done = run_script(sealed_bundle, "street.png", "--out", "seen", "--repeats", "4", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "latency in ms over 4 runs: min " in done.stdout
    assert "the weights are not trained" in done.stdout
    ids = np.asarray(Image.open(tmp_path / "seen" / "street-labels.png"))
    assert np.array_equal(ids, dataset_ids(expected_labels(image), Bundle.load(sealed_bundle).classes))


def test_script_says_what_other_formats_need(sealed_bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "street.jpg")
    done = run_script(sealed_bundle, "street.jpg", cwd=tmp_path)
    assert done.returncode == 2
    said = "street.jpg is not an 8-bit PNG, PPM/PGM or .npy image; for other formats: pip install pillow"
    assert done.stderr == f"error: {said}\n"


def test_script_notices_a_broken_bundle(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "labels.json").write_text("{}", encoding="utf-8")
    done = run_script(bundle_copy, "street.png", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(
        "labels.json is not what was deployed; copy the bundle again, or deploy again\n"
    )


def test_wrong_count_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["street.png", "--repeats", "0"])
    assert stop.value.code == 2
    assert "'0' is not a whole number of 1 or more" in capsys.readouterr().err
