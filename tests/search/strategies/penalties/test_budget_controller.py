"""The controller against a model of what gradient descent does to a distribution."""

import pytest
import torch

from search.strategies.penalties.budget_controller import BudgetController


def _descend(controller: BudgetController, *, pull: float, steps: int = 1500) -> float:
    """The cost that descent ends at: of a cheap and a dear choice, where accuracy pulls to the dear."""
    logits = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.02, betas=(0.5, 0.999))
    random = torch.Generator().manual_seed(0)
    costs = torch.tensor([1.0, 3.0])
    for _ in range(steps):
        p = logits.softmax(0)
        cost = p @ costs
        noise = 0.5 * torch.randn((), generator=random)
        excess = cost / controller.budget - 1
        loss = (
            -(pull + noise) * p[1]
            + controller.resource_weight * cost / 2
            + controller.stiffness / 2 * excess**2
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        controller.update(float((logits.softmax(0) @ costs).detach()))
    return float((logits.softmax(0) @ costs).detach())


@pytest.mark.parametrize(("pull", "budget"), [(-0.5, 2.0), (0.0, 2.7), (0.3, 1.3), (2.0, 2.7), (5.0, 1.3)])
def test_the_budget_is_met_however_accuracy_pulls(pull: float, budget: float) -> None:
    assert _descend(BudgetController(budget), pull=pull) == pytest.approx(budget, rel=0.03)


def test_without_feedback_the_same_descent_misses() -> None:
    controller = BudgetController(2.0, gain=0.0, stiffness=0.0)
    assert _descend(controller, pull=2.0) > 2.8


def test_the_weight_follows_the_excess_and_stays_within_its_limit() -> None:
    controller = BudgetController(1.0, gain=0.5, limit=2.0)
    controller.update(1.5)
    assert controller.resource_weight == pytest.approx(0.25)
    controller.update(0.5)
    assert controller.resource_weight == pytest.approx(0.0)
    for _ in range(100):
        controller.update(9.0)
    assert controller.resource_weight == 2.0
