"""Make bundles: the folder that goes to the device. Reading them is :mod:`squeezenas_tvm.bundles.runner`'s.

    with assemble(out) as folder:
        ...  # write folder/model.so and folder/network.onnx
        seal(folder, manifest, classes=CLASSES["cityscapes"], dataset="cityscapes")

Either the whole bundle stands at ``out`` afterwards or what was there before does.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import search.data
from search.data.classes import LabelClass
from search.data.key_points import KeyPoints
from squeezenas_tvm.about import __version__
from squeezenas_tvm.bundles.machine import processor
from squeezenas_tvm.bundles.manifest import (
    REQUIRED,
    SCHEMA_VERSION,
    BundleError,
    file_sum,
    manifest_sum,
    own_manifest,
    read_manifest,
)
from squeezenas_tvm.errors import UsageError
from targets import LocalMachine, Target
from targets.local_machine import needed_flags
from targets.support import strict_json, text
from targets.support.folders import whole_folder

# Travels in every bundle, by its name there: the runner and the C++ example.
_HERE, _DATA = Path(__file__).parent, Path(search.data.__file__).parent
SHIPPED = {
    "run.py": _HERE / "runner.py",
    "images.py": _HERE / "images.py",
    "values.py": _HERE / "values.py",
    "key_points.py": _HERE / "key_points.py",
    "kernel_times.py": _HERE / "kernel_times.py",
    "machine.py": _HERE / "machine.py",
    "image_files.py": _DATA / "image_files.py",
    "plain_images.py": _DATA / "plain_images.py",
    "manifest.py": _HERE / "manifest.py",
    "strict_json.py": Path(strict_json.__file__),
    "text.py": Path(text.__file__),
    "cpp/main.cc": _HERE / "cpp" / "main.cc",
    "cpp/CMakeLists.txt": _HERE / "cpp" / "CMakeLists.txt",
}
NO_KERNELS: Mapping[str, Any] = {"kernels": [], "peaks": None}
_COMPILED = re.compile(r"__pycache__/([^/.]+)\.[^/]+\.pyc")
_NAMED = 5  # of the files in the way
KERNELS = "kernels.json"
FILES = (*dict.fromkeys((*REQUIRED, KERNELS, *SHIPPED)),)


def label_entries(classes: Sequence[LabelClass]) -> list[dict[str, Any]]:
    """The ``classes`` of labels.json: what the network's class indices stand for, in their order."""
    return [
        {"index": index, "id": entry.id, "name": entry.name, "color": list(entry.color)}
        for index, entry in enumerate(classes)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a bundle says about itself, but for the sums of its files.

    Attributes:
        architecture: of the house's networks.
        device: TVM's name of the device kind that runs the module: ``cpu`` or ``cuda``.
        runs_on: what a machine needs to run it, see `runs_on`.
        fingerprint: the target's: device, power mode, compiler versions, flags, dtype.
        inputs, outputs: of the module, in order; each has name, dtype, shape and meaning (`values`).
        mean, std: per RGB channel, of pixel values divided by 255; the module itself applies them. None where
            it takes no frame, or one that the network itself normalises.
        weights_source, weights_sha256: the file the weights are from; None for random ones.
        trained: False says that what comes out means nothing yet.
        tuned_kernels, default_kernels: how many kernels have a tuned, and a default, schedule.
        untuned: True for a GPU's module whose kernels all run on default schedules, made without a GPU.
        checked: of a GPU's module: how many kernels were run on the emulated GPU, or why none was.
    """

    name: str
    architecture: Mapping[str, Any] | None = None
    target: str
    device: str
    fingerprint: Mapping[str, Any]
    runs_on: Mapping[str, Any]
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    weights_source: str | None
    weights_sha256: str | None
    trained: bool
    tuned_kernels: int
    default_kernels: int
    untuned: bool
    checked: Mapping[str, Any] | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def _normalisation(self) -> dict[str, Any]:
        if self.mean is None or self.std is None:
            return {}
        return {"normalisation": {"mean": list(self.mean), "std": list(self.std)}}

    def document(self, sums: Mapping[str, str]) -> dict[str, Any]:
        """manifest.json for files with these SHA-256 sums; its own sum is still blank."""
        return {
            "schema_version": SCHEMA_VERSION,
            "manifest_sha256": "0" * 64,
            "name": self.name,
            **({"architecture": dict(self.architecture)} if self.architecture else {}),
            "target": {
                "name": self.target,
                "device": self.device,
                "runs_on": dict(self.runs_on),
                "fingerprint": dict(self.fingerprint),
            },
            "created_at": self.created_at.isoformat(timespec="seconds"),
            "made_by": f"squeezenas-tvm {__version__}",
            "inputs": [dict(value) for value in self.inputs],
            "outputs": [dict(value) for value in self.outputs],
            **self._normalisation(),
            "weights": {
                "source": self.weights_source,
                "sha256": self.weights_sha256,
                "trained": self.trained,
            },
            "kernels": {
                "tuned": self.tuned_kernels,
                "default": self.default_kernels,
                "untuned": self.untuned,
                **({"checked": dict(self.checked)} if self.checked else {}),
            },
            "files": dict(sums),
        }


def runs_on(target: Target) -> dict[str, Any]:
    """What a machine must have to run bundles of a target: what the runner checks before it loads them.

    Keys: ``machine`` as `processor` names it; ``cpu_flags``, which /proc/cpuinfo must show; for a target with
    a GPU ``cuda_arch`` (``sm_72``) and ``cuda``, the version of the device, None if unknown; ``emulated``
    where timings mean nothing.
    """
    tvm_target = target.tvm_target()
    if target.kind == "local":
        needs: dict[str, Any] = {
            "machine": processor(),
            "cpu_flags": list(LocalMachine.detect().vector_extensions),
        }
    else:
        triple = str((tvm_target.host or tvm_target).attrs.get("mtriple", ""))
        needs = {
            "machine": triple.partition("-")[0] or processor(),
            "cpu_flags": needed_flags(target.processor_features()),
        }
    if tvm_target.kind.name == "cuda":
        needs["cuda_arch"] = str(tvm_target.attrs["arch"])
        needs["cuda"] = target.toolchain.cuda if target.toolchain else None
    return needs | ({"emulated": True} if target.emulated else {})


@contextmanager
def assemble(out: Path) -> Iterator[Path]:
    """Give an empty folder next to ``out`` to build a bundle in; it goes to ``out`` once sealed and sound.

    After an error nothing of it is left. An older bundle at ``out`` is replaced. The parent of the folder is
    free for other work, and goes when it does.

    Raises:
        UsageError: ``out`` is no bundle, holds what deploy did not put there, or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(whole_folder(out, lambda: _check_ours(out)))
        except OSError as error:
            raise UsageError(f"{out} cannot be written: {error.strerror}; name another folder") from None
        yield folder
        read_manifest(folder)


def seal(
    folder: Path,
    manifest: Manifest,
    *,
    classes: Sequence[LabelClass],
    dataset: str | None = None,
    key_points: KeyPoints | None = None,
    kernels: Mapping[str, Any] = NO_KERNELS,
) -> None:
    """Finish the bundle in ``folder``, where model.so and network.onnx lie already.

    Adds labels.json, kernels.json, run.py and what it reads images with, the C++ example and, last and in one
    step, manifest.json with the sums of all files.

    Args:
        classes: that the network tells apart; names, ids and colours travel in labels.json.
        dataset: whose classes these are; None where nobody says.
        key_points: that the network finds; None where it finds none.
        kernels: what `kernel_profile.kernels_document` tells of its kernels.
    """
    labels: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset,
        "classes": label_entries(classes),
    }
    if key_points is not None:
        pairs = {key: list(map(list, getattr(key_points, key))) for key in ("skeleton", "mirrored")}
        labels["key_points"] = {"names": list(key_points.names), **pairs}
    for name, content in (("labels.json", labels), (KERNELS, {"schema_version": 1, **kernels})):
        (folder / name).write_text(strict_json.json_text(content, indent=2) + "\n", encoding="utf-8")
    for name, source in SHIPPED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source, folder / name)
    document = manifest.document({name: file_sum(folder / name) for name in FILES})
    blank = document["manifest_sha256"]
    told = strict_json.json_text(document, indent=2) + "\n"
    told = told.replace(blank, manifest_sum(told.encode(), blank))
    partial = folder / "manifest.json.partial"
    partial.write_text(told, encoding="utf-8")
    os.replace(partial, folder / "manifest.json")


def _check_ours(out: Path) -> None:
    """Raise UsageError where replacing ``out`` would lose anything that deploy did not put there."""
    others = _others(out) if out.is_dir() else [out.name] * os.path.lexists(out)
    if not others:
        return
    named = ", ".join(others[:_NAMED]) + f" and {len(others) - _NAMED} more" * (len(others) > _NAMED)
    try:
        own_manifest(out)
    except BundleError:
        raise UsageError(f"{out} exists and is not a bundle; name a new folder: there is {named}") from None
    raise UsageError(
        f"{out} holds what deploy did not put there, or what was changed since: {named}; move that away, or "
        "name a new folder"
    )


def _others(folder: Path) -> list[str]:
    """Files in a folder, and links to folders, that are not as the manifest of our bundle lists them."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in (*files, *links)]
    try:
        sums = own_manifest(folder)["files"]
    except BundleError:
        return sorted(found)
    return sorted(name for name in found if not _is_ours(folder, name, sums))


def _is_ours(folder: Path, name: str, sums: Mapping[str, str]) -> bool:
    """Whether a file is the manifest, as that lists it, or what Python compiled of one that it lists."""
    if name in sums:
        path = folder / name
        return path.is_file() and file_sum(path) == sums[name]
    compiled = _COMPILED.fullmatch(name)
    return name == "manifest.json" or (compiled is not None and f"{compiled[1]}.py" in sums)
