"""Key points that a network gave, as files and as text. Travels in the bundle, beside run.py.

A file is JSON whose last line is the sum of all before it, so that what was written here is known again.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING or __package__:
    from targets.support.strict_json import json_text
else:  # in a bundle: strict_json.py lies beside this file
    from strict_json import json_text

Points = npt.NDArray[np.float32]
SCHEMA_VERSION = 1
_SEAL = ',\n"written_by": "squeezenas-tvm", "sha256": "%s"}\n'
_MOST_BYTES = 1 << 28
_DIGITS = 3


def to_size(points: Points, before: Sequence[int], after: Sequence[int]) -> Points:
    """Points (N, 3) of a picture of a height and a width, as those of the same picture at another size."""
    scale = np.array([after[1] / before[1], after[0] / before[0], 1], np.float32)
    middle = np.array([0.5, 0.5, 0], np.float32)
    moved: Points = ((points + middle) * scale - middle).astype(np.float32)
    return moved


def entries(points: Points, names: Sequence[str]) -> list[dict[str, Any]]:
    """x and y in pixels of the picture, the middle of its first one being 0, and the score; in order."""
    rows = [[round(float(number), _DIGITS) for number in point] for point in points]
    return [{"name": name, "x": x, "y": y, "score": s} for name, (x, y, s) in zip(names, rows, strict=True)]


def points_json(image: str, size: Sequence[int], points: Points, names: Sequence[str]) -> bytes:
    """A file of the points of an image; ``size``: its height and width. Raises NotFinite."""
    about = {"schema_version": SCHEMA_VERSION, "image": image, "height": size[0], "width": size[1]}
    document = {**about, "points": entries(points, names)}
    body = json_text(document, indent=2).removesuffix("}").rstrip()
    return (body + _SEAL % hashlib.sha256(body.encode()).hexdigest()).encode()


def is_sealed_json(path: Path) -> bool:
    """Whether a file was written by ``points_json``, and nobody has changed it since."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return False
    content = path.read_bytes()
    body = content[: -len(_SEAL % ("0" * 64))]
    return content == body + (_SEAL % hashlib.sha256(body).hexdigest()).encode()


def points_summary(points: Points, names: Sequence[str]) -> str:
    """A line for people: how sure all are, then where each is."""
    told = (f"{e['name']} {e['x']:.1f} {e['y']:.1f} ({e['score']:.2f})" for e in entries(points, names))
    return f"{len(points)} key points, mean score {float(points[:, 2].mean()):.2f}: {', '.join(told)}"
