"""Meets a budget by adapting the weight of the resource loss."""

from dataclasses import dataclass


@dataclass
class BudgetController:
    """Method of multipliers for ``expected cost = budget``.

    The loss is ``cross-entropy + weight * mix + stiffness / 2 * excess^2`` with ``excess`` the expected cost
    over the budget, less 1, and ``mix`` what the search pays for, which rises with it. After every step the
    weight moves along the excess. The quadratic term damps: the weight alone would swing around the budget
    (Nocedal and Wright, "Numerical Optimization", chapter 17).

    Both sides are held: a weight below 0 pays for using what is left, since among networks that meet a budget
    the dearer ones are mostly the more accurate.

    Attributes:
        budget: in the unit of the cost.
        resource_weight: at first as given; part of the state that a resumed search needs.
        gain: change of the weight a step, for an excess of 1.
        stiffness: of the quadratic term.
    """

    budget: float
    resource_weight: float = 0.0
    gain: float = 0.8
    stiffness: float = 40.0
    limit: float = 20.0

    def excess(self, cost: float) -> float:
        """0 where the budget is met, 0.1 where a tenth too much is spent."""
        return cost / self.budget - 1

    def update(self, cost: float) -> None:
        """After a step, with the expected cost that it left."""
        moved = self.resource_weight + self.gain * self.excess(cost)
        self.resource_weight = min(max(moved, -self.limit), self.limit)
