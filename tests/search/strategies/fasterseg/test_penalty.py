"""The decoupled penalty: each kind of decision pays for itself, and a window around the budget steers it."""

from dataclasses import replace

import pytest
import torch

from cost_models.lookup import cost_model
from search.resolution import Resolution
from search.spaces.fasterseg.spaces import FASTERSEG
from search.strategies.fasterseg.latency import Chances, GridLatency
from search.strategies.fasterseg.penalty import SHARES, DecoupledPenalty, own_per_ms, per_ms
from search.supernet.fasterseg.widths import MapWidths
from targets import load_device

_, STUDENT = FASTERSEG
GRID = STUDENT.grid


@pytest.fixture(scope="module")
def latency() -> GridLatency:
    return GridLatency.of(cost_model(load_device("gtx-1080-ti-tensorrt")), STUDENT, Resolution(1024, 2048))


def learned() -> tuple[Chances, list[torch.Tensor]]:
    """Chances of logits that are all alike, with drawn widths, and those logits."""
    alike = Chances.uniform(GRID).on()
    logits = [torch.zeros_like(own, requires_grad=True) for part in (alike.alpha, alike.beta) for own in part]
    ratio = [torch.zeros_like(own, requires_grad=True) for own in alike.ratio]
    drawn = MapWidths.drawn(GRID, ratio, torch.Generator().manual_seed(0))
    soft = [own.softmax(-1) for own in logits]
    return Chances(soft[:3], soft[3:], drawn.rows), [*logits, *ratio]


def test_it_is_the_weighted_mean_of_three_expectations(latency: GridLatency) -> None:
    penalty = DecoupledPenalty(latency, 6.1e-3, weight=0.01, prices=per_ms(SHARES))
    chances, logits = learned()
    parts = {kind: float(penalty.milliseconds(kind, chances).detach()) for kind in SHARES}
    assert parts["operation"] == parts["path"] == pytest.approx(22.8621, abs=1e-4)
    assert 10.7 < parts["width"] < 22.9
    loss = penalty(chances)
    assert float(loss.detach()) == pytest.approx(0.01 * (498 * 22.8621 + 2 * parts["width"]) / 500, rel=1e-5)
    loss.backward()
    assert all(own.grad is not None and own.grad.abs().sum() > 0 for own in logits)


def test_no_kind_sees_what_others_learned(latency: GridLatency) -> None:
    penalty = DecoupledPenalty(latency, 6.1e-3, weight=0.01, prices=per_ms(SHARES))
    chances, _ = learned()
    narrow = Chances.uniform(GRID).with_width(GRID, 4).on()
    other = replace(chances, ratio=narrow.ratio)
    assert torch.equal(penalty.milliseconds("operation", chances), penalty.milliseconds("operation", other))
    assert torch.equal(penalty.milliseconds("path", chances), penalty.milliseconds("path", other))
    assert float(penalty.milliseconds("width", other)) == pytest.approx(10.7040, abs=1e-4)


@pytest.mark.parametrize(
    ("frames_per_second", "factor"),
    [((176, 150), 0.5), ((170, 154), 2.0), ((170, 160), 1.0), ((154, 150), 2.0), ((180, 190), 0.5)],
)
def test_a_window_around_the_budget_steers_the_weight(
    latency: GridLatency, frames_per_second: tuple[float, float], factor: float
) -> None:
    penalty = DecoupledPenalty(latency, 1 / 165, weight=0.02, prices=per_ms(SHARES))
    penalty.steer([1 / fps for fps in frames_per_second])
    assert penalty.weight == 0.02 * factor


def test_own_prices_are_inverse_to_how_far_a_kind_moves_the_latency(latency: GridLatency) -> None:
    """Of operations and widths the authors' table gives the authors' own shares, which they rounded."""
    spread_s, prices = latency.sensitivity_s(), own_per_ms(latency)
    assert [prices[kind] * 1e3 * own_s for kind, own_s in spread_s.items()] == pytest.approx([1.0] * 3)
    assert prices["width"] / prices["operation"] == pytest.approx(28.3956 / 12.1581, rel=1e-4)
    assert prices["path"] > prices["width"]
