"""Whole networks with weights: the authors' results on real frames, and any size of image."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from search.architecture import load_architecture
from search.data.classes import IGNORE
from search.errors import InvalidResolution, InvalidWeights
from search.networks.network import Network, build_network
from search.networks.weights import save_weights
from search.spaces.camera import IMAGENET_MEAN, IMAGENET_STD
from search.tasks.segmentation_metrics import confusion_matrix, iou_per_class, pixel_accuracy

# From the authors' released code: MACs at 1024x2048, trainable values, and what the frames below give
# (expected.json beside the published weights).
PUBLISHED = ("squeezenas_lat_small", "squeezenas_mac_small", "squeezenas_mac_large")
FRAMES = ("frankfurt_000001_030310", "frankfurt_000001_082087")

# Colours of the 19 classes of Cityscapes that are scored, in the order of their training indices
# (github.com/mcordts/cityscapesScripts, helpers/labels.py). All other colours are not scored.
COLOURS = (
    *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
    *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60)),
    *((255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
)


@cache
def read_image(folder: Path, frame: str) -> torch.Tensor:
    """(1, 3, 1024, 2048), normalised as the authors do."""
    pixels = (
        np.asarray(Image.open(folder / f"{frame}_leftImg8bit.png").convert("RGB"), dtype=np.float32) / 255
    )
    image = (pixels - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())


@cache
def read_labels(folder: Path, frame: str) -> npt.NDArray[np.uint8]:
    """(1024, 2048) training indices; ``IGNORE`` where the colour is none of the classes'."""
    colours = np.asarray(Image.open(folder / f"{frame}_gtFine_labelIds.png").convert("RGB"))
    labels = np.full(colours.shape[:2], IGNORE, np.uint8)
    for index, colour in enumerate(COLOURS):
        labels[(colours == colour).all(-1)] = index
    return labels


def load(shared_data: Path, name: str) -> tuple[Network, dict[str, Any]]:
    folder = shared_data / "squeezenas"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]
    weights = folder / f"{name.removeprefix('squeezenas_')}.pth"
    return build_network(load_architecture(name.replace("_", "-")), weights).eval(), expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_size_they_say(shared_data: Path, name: str) -> None:
    network, expected = load(shared_data, name)
    trained = sum(parameter.numel() for parameter in network.parameters())
    stored = sum(buffer.numel() for buffer in network.buffers())  # batch normalisation's counters too
    assert trained == network.graph.num_parameters == expected["params"]
    assert trained + stored == expected["params_and_buffers"]
    assert network.graph.macs({"x": (1, 3, 1024, 2048)}) / 1e9 == pytest.approx(
        expected["gmacs_1024x2048"], abs=1e-6
    )


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_give_the_authors_results(shared_data: Path, name: str, frame: str) -> None:
    network, expected = load(shared_data, name)
    wanted, frames = expected["frames"][frame], shared_data / "cityscapes-sample"
    with torch.inference_mode():
        logits = network(read_image(frames, frame))
    assert logits.shape == (1, 19, 1024, 2048)
    assert float(logits.mean()) == pytest.approx(wanted["logits_mean"], abs=1e-4)
    assert float(logits.std()) == pytest.approx(wanted["logits_std"], abs=1e-4)
    assert float(logits[0, 0, 512, 1024]) == pytest.approx(wanted["logits_at_c0_y512_x1024"], abs=1e-3)
    classes = logits.argmax(1)[0].numpy()
    moved = np.abs(np.bincount(classes.ravel(), minlength=19) - wanted["argmax_histogram"]).sum() / 2
    assert moved <= 1e-4 * classes.size
    confusion = confusion_matrix(read_labels(frames, frame), classes, 19)
    assert pixel_accuracy(confusion) == pytest.approx(wanted["pixel_accuracy"], abs=1e-4)
    present = iou_per_class(confusion)[confusion.sum(1) > 0]
    assert present.mean() == pytest.approx(wanted["miou_classes_present"], abs=1e-4)


def test_published_weights_do_not_fit_another_network(shared_data: Path) -> None:
    with pytest.raises(
        InvalidWeights, match=r"mac_small\.pth does not fit squeezenas-lat-small: .* missing "
    ):
        build_network(load_architecture("squeezenas-lat-small"), shared_data / "squeezenas" / "mac_small.pth")


def test_weights_of_ours_go_in_and_out(tmp_path: Path) -> None:
    architecture = load_architecture("squeezenas-mac-small")
    network = build_network(architecture).eval()
    state = {k: v.numpy() for k, v in network.state_dict().items()}
    save_weights(tmp_path / "w.safetensors", state)
    again = build_network(architecture, tmp_path / "w.safetensors").eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(image), network(image))
    assert again.architecture == architecture


@cache
def untrained(name: str) -> Network:
    return build_network(load_architecture(name)).eval()


@settings(max_examples=10, deadline=None)
@given(st.integers(64, 200), st.integers(64, 200))
def test_any_size_works(height: int, width: int) -> None:
    with torch.inference_mode():
        logits = untrained("squeezenas-mac-small")(torch.zeros(1, 3, height, width))
    assert logits.shape == (1, 19, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (127, 66)])
@pytest.mark.parametrize("name", ["squeezenas-lat-large", "squeezenas-mac-xlarge", "mobilenetv3-small-seg"])
def test_odd_sizes_work_in_every_kind_of_network(name: str, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert untrained(name)(torch.zeros(2, 3, *size)).shape == (2, 19, *size)


@pytest.mark.parametrize(
    ("size", "nearest"), [((63, 64), "64x64"), ((1, 100), "64x100"), ((300, 32), "300x64"), ((0, 0), "64x64")]
)
def test_smaller_images_are_refused_with_the_nearest_size(size: tuple[int, int], nearest: str) -> None:
    asked = "x".join(map(str, size))
    reason = f"resolution {asked}: sides must be 64 to 8192 pixels; the nearest that works is {nearest}"
    with pytest.raises(InvalidResolution, match=f"^{re.escape(reason)}$"):
        untrained("squeezenas-mac-small")(torch.zeros(1, 3, *size))
