"""Data sets by name, and what they serve. No PyTorch."""

import re
from collections.abc import Callable, Mapping
from functools import partial, reduce
from pathlib import Path

from search.data.camvid import open_camvid
from search.data.cityscapes import open_cityscapes
from search.data.dataset_file import FILES
from search.data.folder import open_folder
from search.data.frames import Data
from search.data.joined import joined
from search.data.mpii import open_mpii
from search.data.nyudv2 import open_nyudv2
from search.data.synthetic import FRAMES, open_synthetic
from search.errors import InvalidData
from targets.support.text import near_miss

IN_FOLDERS: dict[str, Callable[[Path], Data]] = {
    "camvid": open_camvid,
    "cityscapes": open_cityscapes,
    "cityscapes-coarse": partial(open_cityscapes, coarse=True),
    "nyudv2": open_nyudv2,
    "mpii": open_mpii,
    "folder": open_folder,
}
SERVES: Mapping[str, tuple[str, ...]] = {
    "nyudv2": ("depth",),
    "mpii": ("pose",),
    "folder": tuple(FILES),
    "synthetic": tuple(FRAMES),
}
"""The tasks that a data set serves, the usual one first; others serve segmentation."""
_USUAL = ("segmentation",)
ALLOWED = (*(f"{name}:FOLDER" for name in IN_FOLDERS), "synthetic", "synthetic:COUNT")
_PLUS = re.compile(rf"\+(?=(?:{'|'.join([*IN_FOLDERS, 'synthetic'])})(?:[:+]|$))")  # others are in paths


def open_data(spec: str, task: str | None = None) -> Data:
    """The data set that ``camvid:FOLDER``, ``cityscapes:FOLDER``, ``cityscapes-coarse:FOLDER``,
    ``nyudv2:FOLDER``, ``mpii:FOLDER``, ``folder:FOLDER``, ``synthetic``, ``synthetic:COUNT`` or
    ``synthetic:COUNT:HxW`` names. Its images are listed, not read; ``folder`` is a set of the user's own, as
    its ``dataset.yaml`` says.

    ``camvid:FOLDER+synthetic:COUNT:360x480`` is CamVid with drawn scenes among its training frames.

    Args:
        task: which networks are to learn from it; what it serves first when None.

    Raises:
        InvalidData: no such data set, no such folder, nothing of that data set in it, nothing for the task,
            or sets that do not go together.
        InvalidResolution: a size of scenes that no network takes.
    """
    first, *others = _PLUS.split(spec)
    data = _open(first, task)
    return reduce(joined, (_open(other, data.task) for other in others), data)


def _open(spec: str, task: str | None) -> Data:
    name, _, rest = spec.partition(":")
    served = SERVES.get(name, _USUAL)
    if task is not None and task not in served and name in (*IN_FOLDERS, *SERVES):
        raise _unserved(spec, served, task)
    if name == "synthetic":
        return open_synthetic(rest, task or served[0])
    if name not in IN_FOLDERS:
        raise InvalidData(
            f"unknown data set {name!r}{near_miss(name, [*IN_FOLDERS, 'synthetic'])}; "
            f"allowed: {', '.join(ALLOWED)}"
        )
    folder = Path(rest).expanduser()
    if not rest or not folder.is_dir():
        found = f"no folder {folder}" if rest else "no folder is named"
        raise InvalidData(f"data set {spec}: {found}; write {name}:FOLDER")
    data = IN_FOLDERS[name](folder)
    if task is not None and data.task != task:
        raise _unserved(spec, (data.task,), task)
    return data


def _unserved(spec: str, served: tuple[str, ...], task: str) -> InvalidData:
    names = [name for name in (*IN_FOLDERS, "synthetic") if task in SERVES.get(name, _USUAL)]
    others = [name if name == "synthetic" else f"{name}:FOLDER" for name in names if name != "folder"]
    if "folder" in names:
        others.append(f"folder:FOLDER whose dataset.yaml is for {task}")
    told = f"; allowed: {', '.join(others)}" if others else ""
    return InvalidData(f"data set {spec} is for {' and '.join(served)}, not for {task}{told}")
