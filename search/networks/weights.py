"""Weights of a network on disk: safetensors of ours, and state dicts published by the authors of SqueezeNAS.

Never unpickles code: PyTorch files are read with ``weights_only=True``. A process that must stay free of
PyTorch calls ``load_weights_apart``, which runs this module as a program.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cost_models.errors import InvalidGraph
from cost_models.ir.weights import check_weights
from search.architecture import Architecture, dump_architecture, load_architecture
from search.errors import InvalidWeights, SearchError
from search.spaces.chain import ChainSpace
from search.spaces.inverted_residual import SKIP
from targets.support.child_python import child_python
from targets.support.files import put_whole

Array = npt.NDArray[np.float32]
TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".tar")

# Node of ours -> module in the authors' state dicts (github.com/ashaw596/squeezenas). {i} is a position.
_STEM = {"stem.conv": "encoder.conv1.0", "stem.bn": "encoder.conv1.1"}
_HEAD = {"head.conv": "encoder.last_conv.0", "head.bn": "encoder.last_conv.1"}
_BLOCK = {
    "expand.conv": "op.0",
    "expand.bn": "op.1",
    "depthwise.conv": "op.3",
    "depthwise.bn": "op.4",
    "project.conv": "op.6",
    "project.bn": "op.7",
}
_SKIP = {
    "project.conv": "op.op.1",
    "project.bn": "op.op.2",
    "even.conv": "op.conv_1.0",
    "even.bn": "op.conv_1.1",
    "odd.conv": "op.conv_2.0",
    "odd.bn": "op.conv_2.1",
}
_LRASPP = {
    "high.conv": "decoder._1x1_TL.conv",
    "high.bn": "decoder._1x1_TL.bn",
    "gate": "decoder._1x1_BL",
    "classify_high": "decoder._1x1_TR",
    "classify_low": "decoder._1x1_BR",
}
_ASPP = {
    f"{ours}.{part}": f"{theirs}.{part}"
    for part in ("conv", "bn")
    for ours, theirs in {
        "point": "decoder._1x1_1_conv",
        "atrous6": "decoder._3x3_1_conv",
        "atrous12": "decoder._3x3_2_conv",
        "atrous18": "decoder._3x3_3_conv",
        "fuse": "decoder._1x1_2_conv",
        "refine": "logits2",
    }.items()
} | {"detail": "lowlevel1x1", "classify": "logits3"}


def published_keys(architecture: Architecture) -> dict[str, str]:
    """Tensor name in the authors' files -> tensor name in our graph, for a SqueezeNAS architecture."""
    space = architecture.search_space
    if not isinstance(space, ChainSpace):
        return {}  # the authors published chains alone
    modules = _STEM | _HEAD
    for index, block in enumerate(space.short_form(architecture.genotype)):
        for ours, theirs in (_SKIP if block == SKIP else _BLOCK).items():
            modules[f"blocks.{index}.{ours}"] = f"encoder.residuals.{index}.{theirs}"
    decoder = _LRASPP if space.decoder == "lraspp" else _ASPP
    modules |= {f"decoder.{ours}": theirs for ours, theirs in decoder.items()}
    graph = architecture.network()
    tensors = graph.parameters() | graph.buffers()
    split = (name.rsplit(".", 1) for name in tensors)
    return {f"{modules[node]}.{tensor}": f"{node}.{tensor}" for node, tensor in split if node in modules}


def load_weights(architecture: Architecture, path: Path) -> dict[str, Array]:
    """Weights for a network: ``node.tensor`` -> float32 array, every tensor there and of the right shape.

    Reads ``.safetensors`` (our names), and PyTorch state dicts (our names or the authors').

    Raises:
        InvalidWeights: not readable, or of another network: lists every missing, extra or misshapen tensor.
    """
    if not path.is_file():
        raise InvalidWeights(f"{path}: no such file of weights")
    tensors = _read_torch(path) if path.suffix in TORCH_SUFFIXES else _read_safetensors(path)
    return _fit(architecture, tensors, path)


def save_weights(path: Path, weights: Mapping[str, Array]) -> None:
    """Write safetensors that ``load_weights`` reads, whole or not at all. Raises OSError."""
    put_whole(path, save({name: np.ascontiguousarray(values) for name, values in weights.items()}))


def load_weights_apart(architecture: Architecture, path: Path, scratch: Path) -> dict[str, Array]:
    """``load_weights`` in a process without PyTorch: a PyTorch file is converted by a child process first.

    Args:
        scratch: a folder for the architecture's file and the converted weights.
    """
    if path.suffix not in TORCH_SUFFIXES or not path.is_file():
        return load_weights(architecture, path)
    described, converted = scratch / "architecture.yaml", scratch / "weights.safetensors"
    described.write_text(dump_architecture(architecture), encoding="utf-8")
    command = child_python("search.networks.weights", str(described), str(path), str(converted))
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        reason = child.stderr.strip().splitlines() or ["no reason given"]
        raise InvalidWeights(reason[-1].removeprefix("error: "))
    return load_weights(architecture, converted)


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, AttributeError, TypeError) as error:
        # The last two: a precision that numpy lacks.
        raise InvalidWeights(
            f"{path}: not a file of weights ({error}); allowed: .safetensors, or a PyTorch state dict "
            f"({', '.join(TORCH_SUFFIXES)})"
        ) from None


def _read_torch(path: Path) -> dict[str, Array]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise any of a dozen kinds
        raise InvalidWeights(
            f"{path}: not loaded ({type(error).__name__}): damaged, no PyTorch file, or holds more than "
            "tensors, which could run code; save it with torch.save(network.state_dict(), path)"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InvalidWeights(f"{path}: holds no state dict (a mapping from names to tensors)")
    return {str(name): values.detach().float().numpy() for name, values in state.items()}


def _fit(architecture: Architecture, tensors: Mapping[str, Array], path: Path) -> dict[str, Array]:
    """The tensors under our names, without what only training reads, checked against the network."""
    tensors = {
        name.removeprefix("module."): values.astype(
            np.float32, copy=False
        )  # module.: DistributedDataParallel
        for name, values in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    published = published_keys(architecture)
    if any(name.startswith(("encoder.", "decoder._")) for name in tensors):
        tensors = {published.get(name, name): values for name, values in tensors.items()}
    try:
        check_weights(architecture.network(), tensors)
    except InvalidGraph as error:
        raise InvalidWeights(f"{path} does not fit {architecture.name}: {error}") from None
    return dict(tensors)


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
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
