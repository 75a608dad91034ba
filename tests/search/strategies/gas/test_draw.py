"""Draws of operations: the specification's numbers, and what the temperature does."""

import pytest
import torch

from search.strategies.gas.draw import drawn, relaxed, temperature

LOGITS = torch.tensor([0.2, -0.1, 0.5, 0.0], dtype=torch.float64)
UNIFORM = torch.tensor([0.3, 0.6, 0.9, 0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("degrees", "wanted"),
    [
        (1.0, [0.051038, 0.089115, 0.787266, 0.072582]),
        (0.5, [0.004098, 0.012494, 0.975119, 0.008288]),
    ],
)
def test_a_draw_gives_the_numbers_of_the_specification(degrees: float, wanted: list[float]) -> None:
    assert [round(value, 6) for value in relaxed(LOGITS, UNIFORM, degrees).tolist()] == wanted
    noise = [-0.185627, 0.671727, 2.250367, 0.366513]
    assert [round(value, 6) for value in (-(-UNIFORM.log()).log()).tolist()] == noise


def test_the_temperature_falls_exponentially() -> None:
    assert temperature(0.0) == 1.0
    assert temperature(1.0) == pytest.approx(0.03)
    assert temperature(0.5) == pytest.approx(0.03**0.5)
    assert (temperature(-1.0), temperature(2.0)) == (temperature(0.0), temperature(1.0))


def test_every_edge_has_a_draw_of_its_own_that_the_generator_decides() -> None:
    logits = torch.zeros(14, 5, 8, requires_grad=True)
    one, other = (drawn(logits, 1.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    assert len({tuple(row) for row in one.flatten(0, 1).tolist()}) == 70
    torch.testing.assert_close(one.sum(-1), torch.ones(14, 5))
    cold = drawn(logits, temperature(1.0), torch.Generator().manual_seed(3))
    assert torch.equal(cold.argmax(-1), one.argmax(-1))
    assert cold.max(-1).values.mean() > 0.95
    one.square().sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_operations_are_drawn_as_often_as_they_are_probable() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0]).expand(20_000, 3)
    likeliest = drawn(logits, 0.1, torch.Generator().manual_seed(0)).argmax(-1)
    shares = torch.bincount(likeliest, minlength=3) / len(likeliest)
    torch.testing.assert_close(shares, torch.softmax(logits[0], 0), atol=0.015, rtol=0)
