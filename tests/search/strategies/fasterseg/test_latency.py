"""The expected latency of the grid at the points where it is known, with the authors' table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cost_models.lookup import cost_model
from search.resolution import Resolution
from search.spaces.fasterseg.grid import OPERATIONS
from search.spaces.fasterseg.spaces import FASTERSEG
from search.strategies.fasterseg.latency import Chances, GridLatency
from targets import load_device

from ...spaces.fasterseg.released import released_logits

_, STUDENT = FASTERSEG
GRID = STUDENT.grid
FULL = Resolution(1024, 2048)


@pytest.fixture(scope="module")
def latency() -> GridLatency:
    return GridLatency.of(cost_model(load_device("gtx-1080-ti-tensorrt")), STUDENT, FULL)


def widest() -> Chances:
    return Chances.uniform(GRID).with_width(GRID, 12)


def test_of_options_that_are_alike_at_full_width(latency: GridLatency) -> None:
    ends_ms = [1e3 * end for end in latency.expected(widest())]
    assert [round(end, 4) for end in ends_ms] == [7.7229, 7.6159, 7.5234]
    assert round(sum(ends_ms), 4) == 22.8621
    assert round(1e3 * latency.stem_s, 6) == 2.134340


def test_of_the_narrowest_maps(latency: GridLatency) -> None:
    ends_s = latency.expected(Chances.uniform(GRID).with_width(GRID, 4))
    assert round(1e3 * sum(ends_s), 4) == 10.7040


@pytest.mark.parametrize(
    ("operation", "expected_ms"),
    list(zip(OPERATIONS, (10.4862, 22.9234, 18.5346, 38.8818, 23.4844), strict=True)),
)
def test_of_one_operation_everywhere(latency: GridLatency, operation: str, expected_ms: float) -> None:
    one = np.array([float(operation == own) for own in OPERATIONS])
    chances = widest()
    chances = replace(chances, alpha=[np.tile(one, (len(own), 1)) for own in chances.alpha])
    assert round(1e3 * sum(latency.expected(chances)), 4) == expected_ms


def test_of_the_released_students_logits(latency: GridLatency, shared_data: Path) -> None:
    found = Chances.of(released_logits(shared_data, "student"))
    chances = widest()
    assert round(1e3 * sum(latency.expected(replace(chances, alpha=found.alpha))), 5) == 22.92335
    assert round(1e3 * sum(latency.expected(replace(chances, beta=found.beta))), 5) == 22.90904


def test_tensors_give_the_same_with_gradients(latency: GridLatency) -> None:
    chances = Chances.uniform(GRID)
    leaves = [
        [torch.tensor(own, dtype=torch.float32, requires_grad=True) for own in part]
        for part in (chances.alpha, chances.beta, chances.ratio)
    ]
    total = sum(latency.on().expected(Chances(*leaves)))
    assert total.item() == pytest.approx(sum(latency.expected(chances)), rel=1e-6)
    total.backward()
    assert all(leaf.grad is not None and leaf.grad.abs().min() > 0 for part in leaves for leaf in part)
