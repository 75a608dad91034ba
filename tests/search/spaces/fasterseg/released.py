"""The logits that the authors' search ended with, from the folder of real data."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from search.spaces.fasterseg.logits import Logits


def released_document(shared_data: Path, name: str) -> dict[str, Any]:
    """``name``: student or teacher."""
    document = json.loads((shared_data / "fasterseg" / f"arch_{name}.json").read_text())
    assert isinstance(document, dict)
    return document


def released_logits(shared_data: Path, name: str) -> Logits:
    document = released_document(shared_data, name)
    alpha, beta, ratio = (
        tuple(np.array(document[key][scale]) for scale in scales)
        for key, scales in (
            ("alpha", ("8", "16", "32")),
            ("beta", ("16", "32")),
            ("ratio", ("8", "16", "32")),
        )
    )
    return Logits(alpha, beta, ratio)
