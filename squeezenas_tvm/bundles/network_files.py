"""Which files networks come in: an architecture by name or YAML, or ONNX."""

from pathlib import Path

from search.architecture import WEIGHTS
from squeezenas_tvm.errors import UsageError
from targets.support.strict_yaml import YAML_SUFFIXES

_OTHER_FORMATS = (*WEIGHTS, ".pb", ".h5", ".keras", ".tflite", ".mlmodel", ".engine", ".trt", ".so")


def is_onnx(name: str | Path) -> bool:
    """Whether an argument names an ONNX file."""
    return Path(name).suffix.lower() == ".onnx"


def refuse_other_formats(name: str | Path) -> None:
    """Raises UsageError for the file of a network that is neither an architecture nor ONNX."""
    suffix = Path(name).suffix.lower()
    if is_onnx(name) or suffix in YAML_SUFFIXES or not (suffix in _OTHER_FORMATS or Path(name).is_file()):
        return
    what = "holds weights, not the layers that use them" if suffix in WEIGHTS else "is not ONNX"
    raise UsageError(
        f"{name}: {what}; allowed: architectures by name or .yaml file, and .onnx files of any networks; "
        f"from PyTorch: torch.onnx.export(network, example_input, {str(Path(name).with_suffix('.onnx'))!r})"
    )
