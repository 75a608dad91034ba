"""The latency that a search pays for: the specification's numbers, whose network it is, and budgets."""

import numpy as np
import pytest
import torch

from cost_models.lookup import cost_model
from search.costs.space_costs import SpaceCosts
from search.errors import InvalidSearch
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.gas.spaces import GAS
from search.strategies.gas.draw import relaxed
from search.strategies.gas.latency import EdgeLatency
from search.strategies.gas.penalty import BETA, LogPenalty
from targets import load_device

SPACE = GAS[0]
SIZE = Resolution(64, 128)
HEAD = segmentation_head(7)
EDGE = np.array([[[120.0, 0.0, 340.0, 80.0]]])


@pytest.fixture(scope="module")
def latency() -> EdgeLatency:
    return EdgeLatency.of(cost_model(load_device("jetson-xavier")), SPACE, SIZE, HEAD)


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e3])
def test_gradients_are_those_of_the_specification_in_any_unit(unit: float) -> None:
    logits = torch.tensor([[[0.2, -0.1, 0.5, 0.0]]], requires_grad=True)
    weights = relaxed(logits, torch.tensor([[[0.3, 0.6, 0.9, 0.5]]]), 1.0)
    weights.retain_grad()
    penalty = LogPenalty(EdgeLatency(EDGE * unit), beta=0.005)
    assert float(penalty.latency_s(weights).detach()) / unit == pytest.approx(279.601387, rel=1e-6)
    loss = penalty(weights)
    if unit == 1.0:
        assert float(loss.detach()) == pytest.approx(0.028167, abs=1e-6)
    loss.backward()
    assert weights.grad is not None
    assert logits.grad is not None
    found = [[round(value, 6) for value in own.flatten().tolist()] for own in (weights.grad, logits.grad)]
    assert found == [[0.002146, 0, 0.006080, 0.001431], [-0.000146, -0.000446, 0.000850, -0.000259]]


def test_the_pull_is_softer_on_slow_networks() -> None:
    weights = torch.full((1, 1, 4), 0.25, requires_grad=True)
    pulls = []
    for fixed_s in (0.0, 100.0):
        (pull,) = torch.autograd.grad(LogPenalty(EdgeLatency(EDGE, fixed_s))(weights), weights)
        pulls.append(float(pull[0, 0, 2]))
    assert pulls == pytest.approx([BETA * 340 / 135, BETA * 340 / 235])


def test_a_certain_mixture_takes_about_what_its_network_does(latency: EdgeLatency) -> None:
    """Sums are apart; what a network's zeros take away, an edge for itself does not know."""
    assert latency.edges_s.shape == (14, 5, 8)
    assert (latency.edges_s[..., SPACE.chain.operations.index("zero")] == 0).all()
    costs = SpaceCosts.of(cost_model(load_device("jetson-xavier")), SPACE, SIZE, HEAD)
    beyond_s = costs.beyond("latency")
    for operation in ("conv_3x3", "sep_conv_3x3", "dil_sep_conv_3x3_d8"):
        one = np.array([float(operation == own) for own in SPACE.chain.operations])
        genotype = {own.name: operation for own in SPACE.decisions}
        network_s = float(costs.cost([genotype])["latency"][0]) - beyond_s
        assert float(latency.expected(one)) == pytest.approx(network_s, rel=0.05)


def test_a_budget_is_met_by_adapting_beta(latency: EdgeLatency) -> None:
    """On the mixture itself, without images."""
    uniform = torch.full((14, 5, 8), 1 / 8)
    usual_s = float(latency.expected(uniform.numpy()))
    for share in (0.9, 1.1):
        logits = torch.zeros(14, 5, 8, requires_grad=True)
        penalty = LogPenalty(latency, budget_s=share * usual_s)
        descent = torch.optim.Adam([logits], lr=0.05)
        for _ in range(150):
            descent.zero_grad()
            weights = torch.softmax(logits, -1)
            penalty(weights).backward()
            descent.step()
            weights = torch.softmax(logits.detach(), -1)
            penalty.update(weights, 1.02 * float(latency.expected(weights.numpy())))
        assert 1.02 * float(latency.expected(weights.numpy())) == pytest.approx(share * usual_s, rel=0.02)
    other = LogPenalty(latency, budget_s=usual_s)
    other.restore(penalty.state())
    assert other.beta == penalty.beta
    assert other.state() == penalty.state()


@pytest.mark.parametrize("beta", [-0.001, float("nan"), float("inf")])
def test_a_negative_beta_is_refused(latency: EdgeLatency, beta: float) -> None:
    with pytest.raises(InvalidSearch, match=r"^beta is .*, allowed: 0 or more"):
        LogPenalty(latency, beta=beta)


def test_a_latency_of_zero_has_no_logarithm() -> None:
    with pytest.raises(InvalidSearch, match=r"^all latencies are 0, whose logarithm"):
        EdgeLatency(np.zeros((1, 5, 8)))
    with pytest.raises(InvalidSearch, match=r"^latencies of a search are below 0 or no numbers"):
        EdgeLatency(EDGE, fixed_s=float("nan"))
    with pytest.raises(InvalidSearch, match=r"^the mixture takes 0 s, whose logarithm"):
        LogPenalty(EdgeLatency(EDGE))(torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]))
