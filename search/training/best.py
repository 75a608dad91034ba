"""The weights that a training is for: the best ones so far, with what is known of them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from search.data import Data
from search.networks.weights import save_weights
from search.tasks.segmentation_metrics import Counts, iou_per_class, mean_iou, pixel_accuracy
from targets.support.files import sha256

WEIGHTS, REPORT = "best.safetensors", "best.json"


def scores(counts: Counts | None) -> dict[str, float | None]:
    """``miou_percent`` and ``pixel_accuracy_percent`` of a confusion matrix; None where there is nothing."""
    if counts is None or not counts.sum():
        return {"miou_percent": None, "pixel_accuracy_percent": None}
    return {
        "miou_percent": round(100 * mean_iou(counts), 4),
        "pixel_accuracy_percent": round(100 * pixel_accuracy(counts), 4),
    }


def iou_percent(counts: Counts | None, data: Data) -> dict[str, float | None]:
    """Of each class by its name; None for those that do not occur."""
    ious = np.full(data.num_classes, np.nan) if counts is None else iou_per_class(counts)
    known = (None if np.isnan(iou) else round(100 * float(iou), 4) for iou in ious)
    return dict(zip(data.class_names, known, strict=True))


def is_better(found: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    """Whether scores are worth more than those of the best weights so far."""
    if found["miou_percent"] is None:
        return False
    return best is None or best["miou_percent"] is None or found["miou_percent"] > best["miou_percent"]


def write_best(out: Path, network: nn.Module, report: Mapping[str, Any]) -> None:
    """Write both files, the weights in one step; ``deploy`` and ``load_weights`` take them."""
    tensors = {
        name: tensor.cpu().numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    partial = out / f"{WEIGHTS}.partial"
    save_weights(partial, tensors)
    document = {"schema_version": 1, **report, "weights": WEIGHTS, "weights_sha256": sha256(partial)}
    os.replace(partial, out / WEIGHTS)
    (out / REPORT).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
