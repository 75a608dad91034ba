"""The weights that a training is for: the best ones so far, with what is known of them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from search.errors import FailedTraining, InvalidWeights
from search.kept import WEIGHTS
from search.networks.auxiliary import PREFIX
from search.networks.weights import save_weights
from search.tasks.task import Meter, Task
from targets.support.files import sha256, write_whole
from targets.support.strict_json import json_text

REPORT = "best.json"


def scores(task: Task, meter: Meter | None) -> dict[str, float | None]:
    """Of a meter, in the order of the task's columns, rounded; None where there is nothing."""
    found = meter.scores() if meter else {}
    return {name: _rounded(found.get(name)) for name in task.columns}


def details(meter: Meter) -> dict[str, dict[str, float | None]]:
    """What the scores are made of, rounded."""
    return {
        what: {name: _rounded(value) for name, value in values.items()}
        for what, values in meter.details().items()
    }


def is_better(task: Task, found: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    """Whether scores are worth more than those of the best weights so far."""
    if found[task.primary] is None:
        return False
    return best is None or best[task.primary] is None or task.reward(found) > task.reward(best)


def write_best(out: Path, network: nn.Module, report: Mapping[str, Any]) -> None:
    """Write both files, the weights in one step; ``deploy`` and ``load_weights`` take them.

    Heads for training alone are left out.
    """
    tensors = {
        name: tensor.cpu().numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked") and not name.startswith(PREFIX)
    }
    try:
        save_weights(out / WEIGHTS, tensors)
    except InvalidWeights as error:
        raise FailedTraining(
            f"{error}; or lower optimizer.learning_rate and train into another folder; the last checkpoint, "
            "if any, is kept"
        ) from None
    document = {"schema_version": 1, **report, "weights": WEIGHTS, "weights_sha256": sha256(out / WEIGHTS)}
    write_whole(out / REPORT, json_text(document, indent=2) + "\n", "what is known of the best weights")


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
