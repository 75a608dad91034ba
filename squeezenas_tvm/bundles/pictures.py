"""What ``run`` writes of what a network gives for a camera's frame, by its meaning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from squeezenas_tvm.bundles.depth_picture import draw_depth
from squeezenas_tvm.bundles.images import UInt8, gray_png
from squeezenas_tvm.bundles.key_point_picture import draw_key_points
from squeezenas_tvm.bundles.key_points import points_json, points_summary
from squeezenas_tvm.bundles.overlay import draw_overlay
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.bundles.values import CLASSES, KEY_POINTS, METRES, Array, dataset_ids, sealed_npy, summary


@dataclass(frozen=True)
class Picture:
    """Of what a network gives, at the frame's size.

    Attributes:
        name, ending: of the file that holds it, beside the overlay.
        overlay: for people; takes the title, notes and warning that stand beside it.
        file: what the file holds, of an image in a file.
        summary: a line for people, or nothing.
    """

    name: str
    ending: str
    overlay: Callable[..., Image.Image]
    file: Callable[[Bundle, Path, UInt8, Array], bytes]
    summary: Callable[[Bundle, Array], str] = lambda bundle, given: ""

    @property
    def files(self) -> dict[str, str]:
        """What is written: its name -> its ending."""
        return {"overlay": ".png", self.name: self.ending}


def _tinted(bundle: Bundle, image: UInt8, given: Array, **about: Any) -> Image.Image:
    return draw_overlay(image, given, bundle.classes, **about)


def _ids(bundle: Bundle, path: Path, image: UInt8, given: Array) -> bytes:
    return gray_png(dataset_ids(given, bundle.classes))


def _coloured(bundle: Bundle, image: UInt8, given: Array, **about: Any) -> Image.Image:
    return draw_depth(image, given, **about)


def _metres(bundle: Bundle, path: Path, image: UInt8, given: Array) -> bytes:
    return sealed_npy(given)


def _range(bundle: Bundle, given: Array) -> str:
    return summary({**bundle.outputs[0], "shape": given.shape}, given, ())


def _skeleton(bundle: Bundle, image: UInt8, given: Array, **about: Any) -> Image.Image:
    return draw_key_points(image, given, bundle.key_points, **about)


def _points(bundle: Bundle, path: Path, image: UInt8, given: Array) -> bytes:
    return points_json(path.name, image.shape[:2], given, bundle.key_points["names"])


def _found(bundle: Bundle, given: Array) -> str:
    return points_summary(given, bundle.key_points["names"])


PICTURES: Mapping[str, Picture] = {
    CLASSES: Picture("labels", ".png", _tinted, _ids),
    METRES: Picture("metres", ".npy", _coloured, _metres, _range),
    KEY_POINTS: Picture("key_points", ".json", _skeleton, _points, _found),
}
