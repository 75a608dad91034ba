"""Weights of a network on disk: safetensors of ours, and state dicts published by the authors of SqueezeNAS.

Never unpickles code: PyTorch files are read with ``weights_only=True``. A process that must stay free of
PyTorch calls ``load_weights_apart``, which runs this module as a program.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph
from cost_models.ir.weights import check_finite, check_weights
from search.architecture import Architecture, dump_architecture, load_architecture
from search.errors import InvalidWeights, SearchError
from search.networks.names import encoder_names, head_tensors, our_names
from search.networks.weight_files import HOLDERS, TORCH_SUFFIXES, is_torch, read_safetensors, state_dict_in
from search.spaces.encoders import Encoder
from targets.support.child_python import child_python
from targets.support.files import put_whole
from targets.support.text import printable

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float32]


def load_weights(architecture: Architecture, path: Path) -> dict[str, Array]:
    """Weights for a network: ``node.tensor`` -> float32 array, every tensor there and of the right shape.

    Reads safetensors and PyTorch state dicts, by our names or the authors'.

    Raises:
        InvalidWeights: not readable, of another network (lists every missing, extra or misshapen tensor), or
            with values that are no finite numbers.
    """
    return fit_tensors(architecture, read_tensors(path), path)


@dataclass(frozen=True)
class Beginning:
    """Weights to begin a training with.

    Attributes:
        tensors: ours by name, as far as the file has them.
        fresh: names of ours that are to be made anew: tensors of the head.
        left: names of the file's tensors that are not used.
    """

    tensors: dict[str, Array]
    fresh: list[str]
    left: list[str]

    def without(self, names: AbstractSet[str]) -> "Beginning":
        """With these of ours made anew as well."""
        tensors = {name: values for name, values in self.tensors.items() if name not in names}
        return Beginning(tensors, sorted({*self.fresh, *(self.tensors.keys() & names)}), self.left)


def load_beginning(architecture: Architecture, path: Path) -> Beginning:
    """Every tensor of a file that fits by name and shape. The head may be another one, or missing.

    Raises:
        InvalidWeights: not readable, or the encoder is that of another network.
    """
    tensors, graph = read_tensors(path), architecture.network()
    wanted, head = graph.parameters() | graph.buffers(), head_tensors(architecture)
    names = our_names(architecture, tensors)
    used = {
        name: ours
        for name, ours in names.items()
        if ours in wanted and (ours not in head or tuple(tensors[name].shape) == wanted[ours])
    }
    fresh = sorted(head - set(used.values()))
    blank = {name: np.zeros(wanted[name], np.float32) for name in fresh}  # so that the rest is checked
    found = fit_tensors(architecture, {name: tensors[name] for name in used} | blank, path)
    taken = {name: values for name, values in found.items() if name not in blank}
    return Beginning(taken, fresh, sorted(names.keys() - used.keys()))


def load_encoder(encoder: Encoder, path: Path) -> dict[str, Array]:
    """Weights of an encoder alone, as ``Encoder.graph`` names them, of a file of a network that has it.

    Raises InvalidWeights: not readable, of another encoder, or with values that are no finite numbers.
    """
    tensors, graph = read_tensors(path), encoder.graph()
    found = {ours: tensors[name] for name, ours in encoder_names(encoder, tensors).items()}
    return _checked(graph, found, f"encoder {encoder.name}", path)


def save_weights(path: Path, weights: Mapping[str, Array]) -> None:
    """Write safetensors that ``load_weights`` reads, whole or not at all.

    Raises OSError, and InvalidWeights where ``load_weights`` would not read them.
    """
    try:
        check_finite(weights)
    except InvalidGraph as error:
        raise InvalidWeights(f"{path}: not written: {error}") from None
    put_whole(path, save({name: np.ascontiguousarray(values) for name, values in weights.items()}))


def load_weights_apart(architecture: Architecture, path: Path, scratch: Path) -> dict[str, Array]:
    """``load_weights`` in a process without PyTorch: a PyTorch file is converted by a child process first.

    Args:
        scratch: a folder for the architecture's file and the converted weights.
    """
    if not path.is_file() or not is_torch(path):
        return load_weights(architecture, path)
    described, converted = scratch / "architecture.yaml", scratch / "weights.safetensors"
    described.write_text(dump_architecture(architecture), encoding="utf-8")
    command = child_python("search.networks.weights", str(described), str(path), str(converted))
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        reason = child.stderr.strip().splitlines() or ["no reason given"]
        raise InvalidWeights(reason[-1].removeprefix("error: "))
    return load_weights(architecture, converted)


def read_tensors(path: Path) -> dict[str, Array]:
    """All that a file holds, by its own names. Raises InvalidWeights where it is not readable."""
    if not path.is_file():
        raise InvalidWeights(f"{path}: no such file of weights")
    return _read_torch(path) if is_torch(path) else _read_safetensors(path)


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        return read_safetensors(path)
    except (SafetensorError, OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        # The last three: a precision that numpy lacks.
        raise InvalidWeights(
            f"{path}: not a file of weights ({error}); allowed: .safetensors, or a PyTorch state dict "
            f"({', '.join(TORCH_SUFFIXES)})"
        ) from None


def _read_torch(path: Path) -> dict[str, Array]:
    import torch

    try:
        with path.open("rb") as file:  # by its path PyTorch would go by its ending
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise any of a dozen kinds
        raise InvalidWeights(
            f"{path}: not loaded ({type(error).__name__}): damaged, no PyTorch file, or holds more than "
            "tensors, which could run code; save it with torch.save(network.state_dict(), path)"
        ) from None
    state = state_dict_in(state)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InvalidWeights(
            f"{path}: holds no state dict (a mapping from names to tensors), also not as one of its "
            f"{', '.join(HOLDERS)}"
        )
    return {str(name): _plain(str(name), values, path) for name, values in state.items()}


def _plain(name: str, values: "torch.Tensor", path: Path) -> Array:
    """A tensor of a file as an array. Raises InvalidWeights for those that hold no plain numbers."""
    import torch

    kinds = {
        "without values (of the meta device)": values.is_meta,
        "sparse": values.layout != torch.strided,
        "quantised": values.is_quantized,
        "complex": values.is_complex(),
    }
    kind = next((kind for kind, is_it in kinds.items() if is_it), None)
    if kind is None and values.untyped_storage().nbytes() < values.numel() * values.element_size():
        kind = "larger than what is stored of it"
    if kind:
        raise InvalidWeights(
            f"{path}: the tensor {name} is {kind}; allowed: plain numbers, as torch.save of a state_dict "
            "in float32 writes them"
        )
    array: Array = values.detach().float().numpy()
    return array


def fit_tensors(architecture: Architecture, tensors: Mapping[str, Array], path: Path) -> dict[str, Array]:
    """The tensors under our names, without what only training reads, checked against the network."""
    known: dict[str, str] = {}
    for name, ours in our_names(architecture, tensors).items():
        if ours in known:
            raise InvalidWeights(f"{path}: {known[ours]} and {name} are both {ours}; leave one of them out")
        known[ours] = name
    named = {ours: tensors[name] for ours, name in known.items()}
    return _checked(architecture.network(), named, architecture.name, path)


def _checked(graph: Graph, tensors: Mapping[str, Array], of: str, path: Path) -> dict[str, Array]:
    """Finite, and those of a graph."""
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is told as that
            found = {ours: _float32(values) for ours, values in tensors.items()}
        check_weights(graph, found)
    except InvalidGraph as error:
        raise InvalidWeights(f"{path} does not fit {of}: {error}") from None
    try:
        check_finite(found)
    except InvalidGraph as error:
        raise InvalidWeights(f"{path}: {error}") from None
    return found


def _float32(values: npt.NDArray[Any]) -> Array:
    """Raises InvalidGraph for what is no real number."""
    if values.dtype.kind not in "fiub":
        raise InvalidGraph(f"tensors of type {values.dtype}; allowed: real numbers")
    return values.astype(np.float32, copy=False)


def main() -> int:
    """Convert weights of any kind to safetensors: ``python -m search.networks.weights ARCH WEIGHTS OUT``."""
    parser = argparse.ArgumentParser(prog="python -m search.networks.weights", description=main.__doc__)
    parser.add_argument("architecture")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    try:
        save_weights(args.out, load_weights(load_architecture(args.architecture), args.weights))
    except SearchError as error:
        sys.stderr.write(printable(f"error: {error}") + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
