"""MPII Human Pose: annotations as MPII hands them out, or in the JSON files that most training code takes.

``annot/train.json`` and ``annot/valid.json`` (of "Simple Baselines for Human Pose Estimation and Tracking",
arXiv:1804.06208) split the people with key points into training and validation, which the MATLAB file of MPII
does not: there, every tenth film is validation. Those for whom MPII keeps the key points back are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.data.files import folders_in, names_in
from search.data.frames import NAMED_FAULTS, Data, first_faults
from search.data.key_points import KEY_POINTS
from search.data.matlab_file import Element, Structures, read_matlab
from search.data.people import PERSON_SIZE, PersonFrame, Point, people_data
from search.data.split_entry import below
from search.errors import InvalidData
from targets.support.reading import read_text
from targets.support.strict_json import parse_json

POINTS = KEY_POINTS["mpii"]
IMAGES, ANNOTATIONS = "images", "annot"
JSON_FILES = {"train": "train.json", "val": "valid.json"}
HEADS = "gt_valid.mat"  # beside the JSON files: the heads of the people in valid.json
LAYOUTS = (
    f"neither {ANNOTATIONS}/train.json nor mpii_human_pose_v1_u12_1.mat beside {IMAGES}/ (the latter also in "
    "mpii_human_pose_v1_u12_2/)"
)
PERSON_PX = 200  # of a person of scale 1
LOWER, LARGER = 15, 1.25  # how far beyond that people reach, as all training code has it
HEAD_SHARE = 0.6  # of the diagonal of the box around a head: MPII's measure of distances
HEAD, NECK = POINTS.names.index("head_top"), POINTS.names.index("upper_neck")
VALIDATION_EVERY = 10
_MATLAB_PLACES = ("", "mpii_human_pose_v1_u12_2", "mpii_human_pose_v1_u12_1", ANNOTATIONS)
_LARGEST = 1e6


def open_mpii(folder: Path) -> Data:
    """MPII in a folder; a frame a person. Raises InvalidData: no annotations or images, or unsound ones."""
    if ANNOTATIONS in folders_in(folder) and names_in(folder / ANNOTATIONS, (".json",)):
        splits = dict(_from_json(folder))
    elif (path := _matlab_file(folder)) is not None:
        splits = _from_matlab(folder, path)
    else:
        raise InvalidData(f"{folder}: no MPII: it has {LAYOUTS}; name the folder that holds them")
    return people_data("mpii", folder, splits, POINTS)


def _matlab_file(folder: Path) -> Path | None:
    for place in _MATLAB_PLACES:
        for name in names_in(folder / place, (".mat",)):
            if name.startswith("mpii_human_pose"):
                return folder / place / name
    return None


def _from_json(folder: Path) -> Iterator[tuple[str, list[PersonFrame]]]:
    for split, name in JSON_FILES.items():
        path = folder / ANNOTATIONS / name
        if name not in names_in(path.parent, (".json",)):
            continue
        try:
            people = parse_json(read_text(path, InvalidData))
        except ValueError as error:
            raise InvalidData(f"{path}: no JSON: {error}") from None
        if not isinstance(people, list):
            raise InvalidData(f"{path}: no list; allowed: a list of people, as valid.json has it")
        heads = _heads(path.parent / HEADS, len(people)) if split == "val" else None
        made, faults = [], []
        for index, person in enumerate(people):
            head_px = None if heads is None else heads[index]
            try:
                made.append(_person(folder, f"{split}_{index:05}", person, head_px))
            except (ValueError, TypeError, KeyError) as error:
                told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                faults.append(f"person {index + 1}: {told[:200]}")
                if len(faults) > NAMED_FAULTS:
                    break
        if faults:
            raise InvalidData(f"{path}: {first_faults(faults)}")
        yield split, made


def _heads(path: Path, count: int) -> Sequence[float] | None:
    """Sizes of the heads of validation, where they are there: corners (2, 2, people) of boxes."""
    if path.name not in names_in(path.parent, (".mat",)):
        return None
    found = read_matlab(path).get("headboxes_src")
    corners = found.value if found is not None else None
    if (
        not isinstance(corners, np.ndarray)
        or corners.shape != (2, 2, count)
        or not np.isfinite(corners).all()
    ):
        raise InvalidData(f"{path}: no headboxes_src of 2x2x{count}, a box for each person of valid.json")
    sizes = HEAD_SHARE * np.linalg.norm(corners[1].astype(float) - corners[0], axis=0)
    return [float(size) for size in sizes]


def _person(folder: Path, name: str, person: Mapping[str, Any], head_px: float | None) -> PersonFrame:
    """Raises KeyError, TypeError, ValueError."""
    if not isinstance(person, dict):
        raise ValueError("no JSON object")
    image, (x, y) = below(str(person["image"])), _numbers("center", person["center"], 2)
    (scale,) = _numbers("scale", [person["scale"]], 1)
    visible = _numbers("joints_vis", person["joints_vis"], len(POINTS.names))
    joints = person["joints"]
    if not isinstance(joints, list) or len(joints) != len(visible):
        raise ValueError(f"joints: allowed: {len(visible)} points")
    points = []
    for joint, known in zip(joints, visible, strict=True):
        at = _numbers("joints", joint, 2)
        points.append(_point(*at, known=known > 0 and max(at) > 0))
    return _frame(name, folder / IMAGES / image, (x, y), scale, points, head_px)


def _numbers(key: str, found: Any, count: int) -> list[float]:
    """Raises ValueError."""
    sound = isinstance(found, list) and len(found) == count
    if not sound or not all(type(n) in (int, float) and abs(n) < _LARGEST for n in found):
        raise ValueError(f"{key}: found {str(found)[:60]}; allowed: {count} numbers below {_LARGEST:g}")
    return [float(number) for number in found]


def _point(x: float, y: float, *, known: bool) -> Point:
    """In MATLAB the first pixel is 1."""
    return (x - 1, y - 1, 1.0) if known else (0.0, 0.0, 0.0)


def _frame(
    name: str,
    image: Path,
    place: tuple[float, float],
    scale: float,
    points: Sequence[Point],
    head_px: float | None,
) -> PersonFrame:
    """Of a person's place and scale; the head's size by its points where nobody says it.

    Raises ValueError.
    """
    if not 0 < scale < 100:
        raise ValueError(f"scale: found {scale:g}; allowed: above 0, a person of {PERSON_PX} pixels being 1")
    if head_px is None:
        (hx, hy, head), (nx, ny, neck) = points[HEAD], points[NECK]
        head_px = float(np.hypot(hx - nx, hy - ny)) if head and neck else 0.0
    centre = place[0] - 1, place[1] - 1 + LOWER * scale
    side_px = LARGER * PERSON_PX * scale
    return PersonFrame(name, "mpii", image, centre, side_px, tuple(points), head_px, PERSON_SIZE)


def _from_matlab(folder: Path, path: Path) -> dict[str, list[PersonFrame]]:
    """Raises InvalidData."""
    try:
        (release,) = _structures(read_matlab(path)["RELEASE"])
        pictures, trained = _structures(release["annolist"]), release["img_train"].value
        if np.size(trained) != len(pictures):
            raise ValueError(f"img_train has {np.size(trained)} entries, annolist {len(pictures)}")
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidData(f"{path}: no RELEASE with annolist and img_train: {error}") from None
    splits: dict[str, list[PersonFrame]] = {"train": [], "val": []}
    faults: list[str] = []
    for index, (picture, known) in enumerate(zip(pictures, np.ravel(trained).tolist(), strict=True)):
        if known and len(faults) <= NAMED_FAULTS:
            try:
                split, people = _of_picture(folder, index, picture)
                splits[split] += people
            except (KeyError, ValueError, TypeError) as error:
                faults.append(f"picture {index + 1}: {str(error)[:200]}")
    if faults:
        raise InvalidData(f"{path}: {first_faults(faults)}")
    return splits


def _of_picture(folder: Path, index: int, picture: Mapping[str, Element]) -> tuple[str, list[PersonFrame]]:
    """The split, and all whose key points are told."""
    (image,) = _structures(picture["image"])
    name = image["name"].value
    if not isinstance(name, str):
        raise ValueError("image.name: no text")
    film = _number(picture.get("vididx"), float(index))
    split = "val" if int(film) % VALIDATION_EVERY == 0 else "train"
    people = []
    for number, person in enumerate(_structures(picture["annorect"])):
        points = list(_matlab_points(person))
        if any(known for *_, known in points) and {"scale", "objpos"} <= person.keys():
            (place,) = _structures(person["objpos"]) or ({},)
            scale = _number(person["scale"])
            if not place or np.isnan(scale):  # one of a group, whom MPII tells no place of
                continue
            box = [_number(person.get(key)) for key in ("x1", "y1", "x2", "y2")]
            head = HEAD_SHARE * float(np.hypot(box[2] - box[0], box[3] - box[1]))
            at = _number(place["x"]), _number(place["y"])
            own = f"{Path(name).stem}_{number}"
            path = folder / IMAGES / below(name)
            people.append(_frame(own, path, at, scale, points, None if np.isnan(head) else head))
    return split, people


def _matlab_points(person: Mapping[str, Element]) -> Iterator[Point]:
    told: dict[int, Point] = {}
    if "annopoints" in person and (groups := _structures(person["annopoints"])):
        for point in _structures(groups[0]["point"]):
            place, x, y = (_number(point[key]) for key in ("id", "x", "y"))
            if not (abs(x) < _LARGEST and abs(y) < _LARGEST and 0 <= place < len(POINTS.names)):
                raise ValueError(
                    f"point: found id {place:g} at {x:g}, {y:g}; allowed: ids of 0 to 15 at numbers"
                )
            told[int(place)] = _point(x, y, known=True)
    for place in range(len(POINTS.names)):
        yield told.get(place, _point(0, 0, known=False))


def _structures(element: Element) -> list[Mapping[str, Element]]:
    """Raises ValueError for what is neither structures nor empty."""
    found = element.value
    if isinstance(found, Structures):
        return list(found)
    if isinstance(found, np.ndarray) and not found.size:
        return []
    raise ValueError("found something else where structures should be")


def _number(element: Element | None, usual: float = float("nan")) -> float:
    """The only number of an array; ``usual`` where there is none."""
    found = element.value if element is not None else np.zeros(0)
    if isinstance(found, np.ndarray) and found.size == 1 and found.dtype.kind in "iuf":
        return float(found.reshape(-1)[0])
    return usual
