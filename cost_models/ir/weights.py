"""Weights as plain arrays: random ones for timing, and batch normalisation folded into convolutions."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, conv_before, fold_batch_norm
from cost_models.ir.ops import BatchNorm2d

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]  # "node.tensor" -> values


def random_weights(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Weights that keep activations at about unit size: He-normal filters, statistics near 0 and 1."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in (graph.parameters() | graph.buffers()).items():
        if len(shape) == 4:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith((".running_var", ".weight")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape) * 0.1
        weights[name] = values.astype(np.float32)
    return weights


def check_weights(graph: Graph, weights: Weights) -> None:
    """Raise InvalidGraph listing every tensor that is missing, unexpected or of another shape."""
    wanted = graph.parameters() | graph.buffers()
    faults = [f"missing {name}" for name in sorted(set(wanted) - set(weights))]
    faults += [f"unexpected {name}" for name in sorted(set(weights) - set(wanted))]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)}, needs {wanted[name]}"
        for name in sorted(set(wanted) & set(weights))
        if tuple(weights[name].shape) != wanted[name]
    ]
    if faults:
        raise InvalidGraph(
            f"weights of another network: {len(faults)} of {len(wanted)} tensors do not fit: "
            f"{'; '.join(faults)}"
        )


def check_finite(weights: Weights) -> None:
    """Raise InvalidGraph naming tensors that make outputs no numbers: nan, infinite, variances below 0."""
    bad = [
        name
        for name, values in sorted(weights.items())
        if not np.isfinite(values).all() or (name.endswith(".running_var") and (values < 0).any())
    ]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise InvalidGraph(
            f"{len(bad)} of {len(weights)} tensors hold what is no finite number, or a variance below 0: "
            f"{', '.join(bad[:3])}{more}; take the weights of before the training diverged, or a sound copy"
        )


def fold_weights(graph: Graph, weights: Weights) -> dict[str, Array]:
    """Weights of ``fold_batch_norm(graph)`` from those of ``graph``; computed in double precision."""
    check_weights(graph, weights)
    check_finite(weights)
    ops = {node.name: node.op for node in graph.nodes}
    kept = fold_batch_norm(graph).buffers()
    folded = {name: weights[name] for name in (*graph.parameters(), *kept)}
    for norm, conv in conv_before(graph).items():
        op = ops[norm]
        assert isinstance(op, BatchNorm2d)
        gamma, beta, mean, var = (
            weights[f"{norm}.{key}"].astype(np.float64)
            for key in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(var + op.epsilon)
        bias = weights.get(f"{conv}.bias", np.zeros(1, np.float32)).astype(np.float64)
        filters = weights[f"{conv}.weight"].astype(np.float64) * scale[:, None, None, None]
        folded[f"{conv}.weight"] = filters.astype(np.float32)
        folded[f"{conv}.bias"] = (beta + (bias - mean) * scale).astype(np.float32)
        del folded[f"{norm}.weight"], folded[f"{norm}.bias"]
    return folded
