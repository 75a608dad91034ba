"""Searches of decoders over an encoder whose weights are random, as small as can be."""

from pathlib import Path
from typing import Any

import torch

from search.networks.graph_module import GraphModule
from search.networks.weights import save_weights
from search.problem.problem import SearchProblem

from ..helpers import DECODERS, PROGRESSIVE, problem


def encoder_weights(folder: Path) -> Path:
    """A file that fills the encoder."""
    path = folder / "encoder.safetensors"
    torch.manual_seed(7)
    state = GraphModule(DECODERS.encoder.graph()).state_dict()
    save_weights(path, {n: v.numpy() for n, v in state.items() if not n.endswith("num_batches_tracked")})
    return path


def decoders(
    weights: Path | None, strategy: str = "ppo", scoring: dict[str, Any] | None = None, **changes: Any
) -> SearchProblem:
    """On drawn scenes, by the Xavier's prior.

    Args:
        scoring, changes: of the tiny recipe.
    """
    own = {**PROGRESSIVE, **(scoring or {}), "init": str(weights) if weights else None}
    return problem(strategy=strategy, space=DECODERS, scoring=own, **{"candidates": 3, **changes})
