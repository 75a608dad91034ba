"""Learning rates over the steps."""

import math

import pytest

from search.training.recipe import Cosine, Exponential, Poly, Steps
from search.training.schedules import learning_rate_factor


def test_poly_falls_from_one_to_almost_none() -> None:
    factors = [learning_rate_factor(Poly(kind="poly", power=0.9), step, 5, 4) for step in range(20)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert factors[10] == pytest.approx(0.5**0.9)
    assert factors[-1] == pytest.approx(0.05**0.9)


def test_steps_cut_at_the_milestones() -> None:
    schedule = Steps(kind="step", milestones=(50, 75), factor=0.1)
    factors = [learning_rate_factor(schedule, 7 * epoch, 7, 100) for epoch in (0, 49, 50, 74, 75, 99)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert learning_rate_factor(schedule, 7 * 50 - 1, 7, 100) == 1


def test_cosine() -> None:
    schedule = Cosine(kind="cosine")
    assert learning_rate_factor(schedule, 5, 10, 1) == pytest.approx(0.5)
    assert learning_rate_factor(schedule, 9, 10, 1) == pytest.approx((1 + math.cos(0.9 * math.pi)) / 2)


def test_exponential_falls_by_the_epoch() -> None:
    schedule = Exponential(kind="exponential", factor=0.992)
    factors = [learning_rate_factor(schedule, step, 1000, 600) for step in (0, 999, 1000, 599_999)]
    assert factors == pytest.approx([1, 1, 0.992, 0.992**599])


def test_warmup_rises_to_the_schedule() -> None:
    schedule = Steps(kind="step", milestones=(8,), warmup_epochs=2)
    factors = [learning_rate_factor(schedule, step, 2, 10) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1, 1, 1]
