"""Data sets by name. No PyTorch."""

import re
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path

from search.data.camvid import open_camvid
from search.data.cityscapes import open_cityscapes
from search.data.folder import open_folder
from search.data.frames import Data
from search.data.joined import joined
from search.data.synthetic import open_synthetic
from search.errors import InvalidData
from targets.support.text import near_miss

IN_FOLDERS: dict[str, Callable[[Path], Data]] = {
    "camvid": open_camvid,
    "cityscapes": open_cityscapes,
    "cityscapes-coarse": partial(open_cityscapes, coarse=True),
    "folder": open_folder,
}
ALLOWED = (*(f"{name}:FOLDER" for name in IN_FOLDERS), "synthetic", "synthetic:COUNT")
_PLUS = re.compile(rf"\+(?=(?:{'|'.join([*IN_FOLDERS, 'synthetic'])})(?:[:+]|$))")  # others are in paths


def open_data(spec: str) -> Data:
    """The data set that ``camvid:FOLDER``, ``cityscapes:FOLDER``, ``cityscapes-coarse:FOLDER``,
    ``folder:FOLDER``, ``synthetic``, ``synthetic:COUNT`` or ``synthetic:COUNT:HxW`` names. Its files are
    listed, not read; ``folder`` is a set of the user's own, as its ``dataset.yaml`` says.

    ``camvid:FOLDER+synthetic:COUNT:360x480`` is CamVid with drawn scenes among its training frames.

    Raises:
        InvalidData: no such data set, no such folder, nothing of that data set in it, or sets that do not
            go together.
        InvalidResolution: a size of scenes that no network takes.
    """
    return reduce(joined, map(_open, _PLUS.split(spec)))


def _open(spec: str) -> Data:
    name, _, rest = spec.partition(":")
    if name == "synthetic":
        return open_synthetic(rest)
    if name not in IN_FOLDERS:
        raise InvalidData(
            f"unknown data set {name!r}{near_miss(name, [*IN_FOLDERS, 'synthetic'])}; "
            f"allowed: {', '.join(ALLOWED)}"
        )
    folder = Path(rest).expanduser()
    if not rest or not folder.is_dir():
        found = f"no folder {folder}" if rest else "no folder is named"
        raise InvalidData(f"data set {spec}: {found}; write {name}:FOLDER")
    return IN_FOLDERS[name](folder)
