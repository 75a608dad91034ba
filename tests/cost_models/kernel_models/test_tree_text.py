"""Trees of a predictor: XGBoost's own text passes, what would make it read out of bounds does not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cost_models
from cost_models.kernel_models.tree_text import check_trees

SHIPPED = Path(cost_models.__file__).parent / "local-cpu" / "residual.json"


def model() -> dict[str, Any]:
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


def tree(told: dict[str, Any]) -> dict[str, Any]:
    return told["learner"]["gradient_booster"]["model"]["trees"][0]


def test_shipped_trees_pass() -> None:
    check_trees(SHIPPED.read_bytes())


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a child beyond the end": (lambda m: tree(m)["left_children"].__setitem__(0, 10**6), "children are none"),
    "a circle": (lambda m: tree(m)["left_children"].__setitem__(1, 0), "children are none"),
    "a feature": (lambda m: tree(m)["split_indices"].__setitem__(0, 99), "a feature that is none"),
    "short": (lambda m: tree(m)["split_conditions"].pop(), "arrays of differing lengths"),
    "categories": (lambda m: tree(m)["categories"].append(1), "categories"),
    "count": (lambda m: tree(m)["tree_param"].update(num_nodes="7"), "another number of nodes"),
    "trees": (
        lambda m: m["learner"]["gradient_booster"]["model"]["trees"].pop(),
        "another number of trees than it says",
    ),
    "no number": (lambda m: m["learner"]["learner_model_param"].update(base_score="nan"), "is no number"),
    "features": (lambda m: m["learner"]["feature_names"].pop(), "another number of features"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_others_are_refused(change: str) -> None:
    spoil, reason = CHANGES[change]
    spoilt = model()
    spoil(spoilt)
    with pytest.raises(ValueError, match=reason):
        check_trees(json.dumps(spoilt).encode())
    with pytest.raises(ValueError, match="nested more than"):
        check_trees(b'{"a":' * 100_000)
