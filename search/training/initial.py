"""Weights to begin a training with, also those of another number of classes."""

from pathlib import Path

from search.architecture import Architecture
from search.errors import InvalidWeights
from search.networks.weights import Array, load_weights


def initial_weights(
    architecture: Architecture, path: Path, *, declared: Architecture
) -> tuple[dict[str, Array], list[str]]:
    """Weights from a file, and the names of the tensors of it that were left out: those of its classifier.

    Args:
        declared: the same network, with the classes that the file may have instead.

    Raises InvalidWeights: of another network, or of any other number of classes.
    """
    try:
        return load_weights(architecture, path), []
    except InvalidWeights:
        if declared.head.outputs == architecture.head.outputs:
            raise
    tensors = load_weights(declared, path)
    graph = architecture.network()
    wanted = graph.parameters() | graph.buffers()
    left_out = sorted(name for name, values in tensors.items() if values.shape != wanted[name])
    return {name: values for name, values in tensors.items() if name not in left_out}, left_out
