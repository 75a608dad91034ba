"""Files of weights, told apart by what is in them, not by how they are called. No PyTorch."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import deserialize, safe_open

from search.errors import InvalidWeights

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".tar", ".bin")
HOLDERS = ("state_dict", "model_state_dict", "model", "network", "net", "module", "weights", "params")
_MOST_NESTED = 4

# What else is given for weights by mistake: how such a file begins, what it is, and what to do.
_OTHERS: Mapping[bytes, str] = {
    b"squeezenas-tvm checkpoint ": "a checkpoint, which --resume goes on from; its best weights so far are "
    "in best.safetensors beside it",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch that with git lfs pull",
    b"<": "a web page or XML, not the file that it links to; download that",
    b"\x89HDF": "an HDF5 file, as Keras writes them; convert it to PyTorch or safetensors",
    b"\x93NUMPY": "a numpy array; allowed: .safetensors, or a PyTorch state dict",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"GGUF": "a GGUF file; convert it to PyTorch or safetensors",
}


def is_torch(path: Path) -> bool:
    """Whether PyTorch reads the file, not safetensors. Raises InvalidWeights naming what is neither."""
    try:
        with path.open("rb") as file:
            begins = file.read(64)
    except OSError as error:
        raise InvalidWeights(f"{path}: cannot be read: {error.strerror}") from None
    if begins[8:9] == b"{":  # after eight bytes of length
        return False
    other = next((said for head, said in _OTHERS.items() if begins.startswith(head)), None)
    if other is None and path.suffix.lower() == ".onnx":
        other = "an ONNX network; allowed: .safetensors, or a PyTorch state dict"
    if other is None and begins.startswith(b"PK"):
        other = _other_archive(path)
    if other:
        raise InvalidWeights(f"{path}: {other}")
    return begins.startswith((b"PK", b"\x80")) or path.suffix.lower() in TORCH_SUFFIXES


def _other_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None  # PyTorch says what is wrong
    if any(name.endswith("constants.pkl") for name in names):
        return "a TorchScript program; write its weights: torch.save(program.state_dict(), path)"
    if any(name.endswith(".npy") for name in names):
        return "a numpy archive; allowed: .safetensors, or a PyTorch state dict"
    return None


def state_dict_in(loaded: Any) -> Any:
    """What trainers write beside the weights is left out: the state dict inside, or what there is instead."""
    for _ in range(_MOST_NESTED):
        if not isinstance(loaded, Mapping):
            break
        inner = (loaded[key] for key in HOLDERS if isinstance(loaded.get(key), Mapping))
        if (found := next(inner, None)) is None:
            break
        loaded = found
    return loaded


def read_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All tensors; those in bfloat16, which numpy lacks, in float32. Raises what safetensors and numpy do."""
    with safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        halves = {name for name in names if file.get_slice(name).get_dtype() == "BF16"}
        found = {name: file.get_tensor(name) for name in names if name not in halves}
    if halves:
        stored = dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
        found |= {name: _from_bfloat16(stored[name]) for name in halves}
    return found


def _from_bfloat16(stored: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """A bfloat16 is the upper half of a float32."""
    upper = np.frombuffer(stored["data"], "<u2").astype(np.uint32)
    return (upper << 16).view(np.float32).reshape(stored["shape"])
