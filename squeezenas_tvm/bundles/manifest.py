"""A bundle's manifest.json and labels.json, read and checked. Travels in the bundle, needs no packages.

Sums tell that a file is what was deployed, not that this program can read it: that is checked too.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from targets.support.strict_json import parse_json
else:  # in a bundle: strict_json.py lies beside this file
    from strict_json import parse_json

SCHEMA_VERSION = 2
REQUIRED = ("model.so", "network.onnx", "labels.json", "run.py")
WHAT_A_BUNDLE_IS = (
    "a bundle is a folder with manifest.json, " + ", ".join(REQUIRED) + ", made by `squeezenas-tvm deploy`"
)
BROKEN = "is not what was deployed; copy the bundle again, or deploy again"
MOST_BYTES = 1 << 24  # of manifest.json and labels.json
MOST_SIDE = 1 << 15
MOST_CLASSES = 1 << 16
MOST_VALUES = 64  # that go in, or come out
MEANINGS = ("frame", "tensor", "class index", "metres", "key points")
DTYPES = (
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)),
)
DEVICES = ("cpu", "cuda", "metal", "opencl", "rocm", "vulkan")  # of TVM

Check = Callable[[Any], bool]


class BundleError(Exception):
    """A bundle that cannot be used here: one line that says which, why and what to do."""

    exit_code = 2


def manifest_sum(raw: bytes, stored: str) -> str:
    """SHA-256 of a manifest's bytes with its own sum blanked out, so that the file can carry it."""
    return hashlib.sha256(raw.replace(stored.encode(), b"0" * 64)).hexdigest()


def file_sum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def own_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest; its ``files`` are the sums of all files of the bundle, which `read_manifest` checks.

    Raises:
        BundleError: no bundle, a newer schema, or a manifest that is not what was deployed, or no sound one.
    """
    if not folder.exists():
        raise BundleError(f"no bundle at {folder}; {WHAT_A_BUNDLE_IS}")
    path = folder / "manifest.json"
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no manifest.json; {WHAT_A_BUNDLE_IS}")
    raw = _bounded(path)
    try:
        manifest = _object(raw)
        schema_version, stored = manifest["schema_version"], str(manifest["manifest_sha256"])
    except (ValueError, KeyError):
        raise BundleError(f"{path} {BROKEN}") from None
    if type(schema_version) is not int or not re.fullmatch("[0-9a-f]{64}", stored):
        raise BundleError(f"{path} {BROKEN}")
    if schema_version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema_version {schema_version}, this program reads up to {SCHEMA_VERSION}; "
            "use a newer squeezenas-tvm, or deploy again with this one"
        )
    if manifest_sum(raw, stored) != stored:
        raise BundleError(f"{path} {BROKEN}")
    _upgrade(manifest)
    _refuse(path, _manifest_faults(manifest))
    return manifest


def _upgrade(manifest: dict[str, Any]) -> None:
    """Bundles of schema 1 took a camera's frame and gave the class of each of its pixels."""
    if manifest["schema_version"] == 1 and _is_input(manifest.get("input")):
        shape = manifest["input"]["shape"]
        manifest["inputs"] = [{"name": "frame", "dtype": "uint8", "shape": shape, "meaning": "frame"}]
        classes = {"name": "classes", "dtype": "uint8", "shape": shape[:3], "meaning": "class index"}
        manifest["outputs"] = [classes]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest and check every file of the bundle against it.

    Raises:
        BundleError: as `own_manifest`, and a file that is missing or is not what was deployed.
    """
    manifest = own_manifest(folder)
    sums = manifest["files"]
    for name in dict.fromkeys([*REQUIRED, *sums]):
        if not (folder / name).is_file():
            raise BundleError(f"{folder / name} is missing; copy the bundle again, or deploy again")
        if file_sum(folder / name) != sums.get(name):
            raise BundleError(f"{folder / name} {BROKEN}")
    return manifest


def read_labels(folder: Path) -> list[dict[str, Any]]:
    """The ``classes`` of labels.json, in a folder that `read_manifest` has checked. Raises BundleError."""
    path = folder / "labels.json"
    try:
        labels = _object(_bounded(path))
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}; deploy again") from None
    if type(labels.get("schema_version")) is not int or labels["schema_version"] > SCHEMA_VERSION:
        raise BundleError(
            f"{path} is of a schema that this program does not read; use a newer squeezenas-tvm"
        )
    _refuse(path, _label_faults(labels))
    classes: list[dict[str, Any]] = labels["classes"]
    return classes


def read_key_points(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The ``key_points`` of labels.json: ``names``, and by their places the pairs ``skeleton`` and
    ``mirrored``; empty where a network finds none.

    In a folder that `read_labels` has read. Raises BundleError, also where there are others than it finds.
    """
    path = folder / "labels.json"
    points: dict[str, Any] = _object(_bounded(path)).get("key_points", {})
    _refuse(path, [*_faults(points, _KEY_POINTS, "key_points.")] if points else [])
    count = len(points.get("names", ()))
    for key in ("skeleton", "mirrored"):
        if any(place >= count for pair in points.get(key, ()) for place in pair):
            _refuse(path, [f"key_points.{key}: a place beyond the {count} names"])
    for output in manifest["outputs"]:
        if output["meaning"] == "key points" and output["shape"][1:2] != [count]:
            _refuse(path, [f"key_points: {count} names, and the network finds others: {output['shape']}"])
    return points


def read_kernels(folder: Path) -> dict[str, Any]:
    """kernels.json: ``kernels``, each with ``kernel``, TVM's ``functions``, ``macs`` and ``bytes_moved`` of a
    call; and ``peaks`` of the target, None where its file has none. Bundles of before have no such file, and
    are as if it were empty.

    In a folder that `read_manifest` has checked. Raises BundleError.
    """
    path = folder / "kernels.json"
    if not path.is_file():
        return {"kernels": [], "peaks": None}
    try:
        document = _object(_bounded(path))
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}; deploy again") from None
    faults = [*_faults(document, _KERNELS)]
    for place, kernel in enumerate(document["kernels"] if not faults else ()):
        faults += _faults(kernel, _KERNEL, f"kernels[{place}].")
    if not faults and document["peaks"] is not None:
        faults += _faults(document["peaks"], _PEAKS, "peaks.")
    _refuse(path, faults)
    return document


def _bounded(path: Path) -> bytes:
    """Raises BundleError where the file cannot be read, or is none of ours by its size alone."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; copy the bundle again") from None
    if len(raw) > MOST_BYTES:
        raise BundleError(
            f"{path} is larger than {MOST_BYTES >> 20} MiB; copy the bundle again, or deploy again"
        )
    return raw


def _refuse(path: Path, faults: Sequence[str]) -> None:
    if faults:
        raise BundleError(
            f"{path} is not one that this program can read: {'; '.join(faults[:5])}; "
            "deploy again with this squeezenas-tvm"
        )


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``. Raises ValueError."""
    found = parse_json(raw)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def _manifest_faults(manifest: Mapping[str, Any]) -> list[str]:
    """What this program could not use in a manifest; a phrase each."""
    faults = [*_faults(manifest, _MANIFEST), *_faults(manifest.get("target", {}), _TARGET, "target.")]
    return faults or [
        f"files: {name!r} does not lie in the bundle"
        for name in manifest.get("files", ())
        if not _is_below(name)
    ]


def _label_faults(labels: Mapping[str, Any]) -> list[str]:
    """The same of labels.json."""
    classes = labels.get("classes")
    if not isinstance(classes, list) or len(classes) > MOST_CLASSES:
        return [f"classes: missing, or no list of up to {MOST_CLASSES}"]
    faults = [
        fault for place, entry in enumerate(classes) for fault in _faults(entry, _CLASS, f"classes[{place}].")
    ]
    places = [entry.get("index") for entry in classes if isinstance(entry, dict)]
    return faults or (["classes: an index is given twice"] if len({*places}) < len(places) else [])


def _faults(found: Any, wanted: Mapping[str, tuple[Check, str]], where: str = "") -> Iterator[str]:
    """Of keys that are wanted; those that end in ``?`` may be absent."""
    if not isinstance(found, dict):
        yield f"{where.rstrip('.')}: no JSON object"
        return
    for key, (check, allowed) in wanted.items():
        name = key.rstrip("?")
        if name not in found:
            if name == key:
                yield f"{where}{name}: missing"
        elif not check(found[name]):
            yield f"{where}{name}: not {allowed}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST_CLASSES


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_byte, value))


def _is_input(value: Any) -> bool:
    shape = value.get("shape") if isinstance(value, dict) else None
    return (
        isinstance(shape, list)
        and len(shape) == 4
        and all(type(size) is int for size in shape)
        and (shape[0], shape[3]) == (1, 3)
        and all(1 <= size <= MOST_SIDE for size in shape[1:3])
    )


def _is_values(value: Any) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_VALUES:
        return False
    names = [own.get("name") for own in value if isinstance(own, dict)]
    return all(map(_is_value, value)) and len({*names}) == len(names)


def _is_value(value: Any) -> bool:
    if (
        not isinstance(value, dict)
        or value.get("meaning") not in MEANINGS
        or value.get("dtype") not in DTYPES
    ):
        return False
    shape = value.get("shape")
    if not isinstance(shape, list) or len(shape) > 8 or any(type(size) is not int for size in shape):
        return False
    if (
        value.get("dtype") not in DTYPES
        or not _is_text(value.get("name"))
        or not all(0 < size < 1 << 32 for size in shape)
    ):
        return False
    is_frame = len(shape) == 4 and shape[3] == 3 and value["dtype"] == "uint8" and max(shape) <= MOST_SIDE
    return math.prod(shape) < 1 << 32 and (is_frame or value["meaning"] != "frame")


def _is_weights(value: Any) -> bool:
    return (
        isinstance(value, dict) and _is_flag(value.get("trained")) and _is_text_or_none(value.get("source"))
    )


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_runs_on(value: Any) -> bool:
    flags = value.get("cpu_flags", []) if isinstance(value, dict) else None
    return (
        isinstance(flags, list)
        and all(map(_is_text, flags))
        and _is_text(value.get("machine", ""))
        and all(_is_text_or_none(value.get(name)) for name in ("cuda_arch", "cuda"))
    )


def _is_fingerprint(value: Any) -> bool:
    cores = value.get("cores", 1) if isinstance(value, dict) else None
    return type(cores) is int and 0 <= cores <= 1 << 16 and _is_text(value.get("tvm_version", ""))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= MOST_CLASSES and all(map(_is_text, value))


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_index, pair)) for pair in value
    )


def _is_sums(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_amount(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value < 1 << 62)


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


_MANIFEST = {
    "name": (_is_text, "text"),
    "target": (_is_object, "a JSON object"),
    "inputs": (_is_values, f"1 to {MOST_VALUES} of name, dtype, shape, meaning"),
    "outputs": (_is_values, f"1 to {MOST_VALUES} of name, dtype, shape, meaning"),
    "weights": (_is_weights, "source and trained"),
    "kernels": (_is_object, "a JSON object"),
    "files": (_is_sums, "sums by name"),
}
_TARGET = {
    "name": (_is_text, "text"),
    "device": (lambda value: value in DEVICES, f"one of {', '.join(DEVICES)}"),
    "runs_on?": (_is_runs_on, "machine, cpu_flags, cuda_arch and cuda as text"),
    "fingerprint": (_is_fingerprint, "cores and versions"),
}
_KEY_POINTS = {
    "names": (_is_names, "a list of text"),
    "skeleton?": (_is_pairs, "pairs of places"),
    "mirrored?": (_is_pairs, "pairs of places"),
}
_CLASS = {
    "index": (_is_index, f"0 to {MOST_CLASSES - 1}"),
    "id": (_is_index, f"0 to {MOST_CLASSES - 1}"),
    "name": (_is_text, "text"),
    "color": (_is_colour, "a colour [red, green, blue], each 0 to 255"),
}
_KERNELS = {
    "schema_version": (lambda value: value == 1, "1; use a newer squeezenas-tvm"),
    "kernels": (lambda value: isinstance(value, list) and len(value) <= MOST_CLASSES, "a list of them"),
    "peaks": (lambda value: value is None or isinstance(value, dict), "null, or a JSON object"),
}
_KERNEL = {
    "kernel": (_is_text, "text"),
    "functions": (_is_names, "a list of text"),
    "macs": (_is_amount, "a whole number, or null"),
    "bytes_moved": (_is_amount, "a whole number, or null"),
}
_PEAKS = {
    "macs_per_s": (_is_rate, "a number above 0"),
    "bytes_per_s": (_is_rate, "a number above 0"),
    "source": (_is_text, "text"),
}
