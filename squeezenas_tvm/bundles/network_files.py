"""Which files networks come in: an architecture by name or YAML, or ONNX."""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cost_models.ir.op import Shape
from cost_models.onnx_io.whole_model import input_names
from search.architecture import WEIGHTS
from squeezenas_tvm.errors import UsageError
from targets.support.strict_yaml import YAML_SUFFIXES
from targets.support.text import near_miss

NETWORK = "network.onnx"  # of a bundle
_NAMED = 5
_TORCHSCRIPT = "/constants.pkl"
_OTHER_FORMATS = (*WEIGHTS, ".pb", ".h5", ".keras", ".tflite", ".mlmodel", ".engine", ".trt", ".so")


def is_onnx(name: str | Path) -> bool:
    """Whether an argument names an ONNX file."""
    return Path(name).suffix.lower() == ".onnx"


def is_bundle(path: str | Path) -> bool:
    """Whether a folder is, or claims to be, what ``deploy`` makes."""
    return (Path(path) / "manifest.json").exists()


def with_folders(names: Sequence[str]) -> list[str]:
    """The same names, a folder standing for the ONNX files in it.

    Raises UsageError for a folder without any. A bundle is a network of its own.
    """
    found: list[str] = []
    for name in names:
        folder = Path(name)
        if not folder.is_dir() or is_bundle(folder):
            found.append(name)
            continue
        files = sorted(str(path) for path in folder.iterdir() if is_onnx(path))
        if not files:
            raise UsageError(f"{name}: a folder without .onnx files; name one with such, or the files")
        found += files
    return found


def shapes_of(paths: Iterable[Path], given: Mapping[str, Shape]) -> dict[Path, dict[str, Shape]]:
    """Shapes that people give by names of inputs, for each of the ONNX files that has such inputs.

    Raises:
        UsageError: none of the files has an input of that name; says which they have.
        InvalidGraph: one cannot be read.
    """
    if not given:
        return {path: {} for path in paths}
    inputs = {path: input_names(path) for path in paths}
    known = list(dict.fromkeys(name for names in inputs.values() for name in names))
    for name in given:
        if name not in known:
            said = ", ".join(known[:_NAMED]) or "ONNX files with inputs"
            raise UsageError(f"--shape {name}: no such input{near_miss(name, known)}; allowed: {said}")
    return {path: {name: given[name] for name in names if name in given} for path, names in inputs.items()}


def refuse_other_formats(name: str | Path) -> None:
    """Raises UsageError for the file of a network that is neither an architecture nor ONNX."""
    suffix = Path(name).suffix.lower()
    if is_onnx(name) or suffix in YAML_SUFFIXES or not (suffix in _OTHER_FORMATS or Path(name).is_file()):
        return
    what = "is TorchScript" if _is_torchscript(Path(name)) else "is not ONNX"
    if suffix in WEIGHTS and what == "is not ONNX":
        what = "holds weights, not the layers that use them"
    raise UsageError(
        f"{name}: {what}; allowed: architectures by name or .yaml file, and .onnx files of any networks; "
        f"from PyTorch: torch.onnx.export(network, example_input, {str(Path(name).with_suffix('.onnx'))!r})"
    )


def _is_torchscript(path: Path) -> bool:
    """Whether PyTorch has saved a network with its code there; nothing of it is loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(_TORCHSCRIPT) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False
