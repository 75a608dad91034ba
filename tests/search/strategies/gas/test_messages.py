"""Messages between cells: the specification's numbers, and what must not change."""

import pytest
import torch

from search.errors import InvalidRecipe
from search.strategies.gas.messages import GraphMessage, Messages

CELL = torch.tensor([[0.1, -0.2], [0.3, 0.0], [-0.1, 0.2]], dtype=torch.float64)
BEFORE = torch.tensor([[0.5, -0.5], [0.0, 0.4], [-0.3, 0.1]], dtype=torch.float64)
VALUES = {
    "w1": [[1, 0.5], [-0.5, 1]],
    "w2": [[0.8, -0.2], [0.3, 0.6]],
    "phi1": [[1, 0, 0.5], [-0.5, 1, 0]],
    "weight": [[0.2, 0.1, 0], [0, 0.3, -0.1], [0.4, 0, 0.2]],
    "phi2": [[0.6, -0.1], [0.2, 0.5], [-0.3, 0.4]],
}
SHAPE = (14, 5, 8)


def golden(sends: str = "own", cells: int = 2) -> Messages:
    found = Messages((cells, 3, 2), "gcn", hidden=3, sends=sends).double()  # type: ignore[arg-type]
    assert isinstance(found.pairs, GraphMessage)
    with torch.no_grad():
        for name, values in VALUES.items():
            getattr(found.pairs, name).copy_(torch.tensor(values))
    return found


def busy(kind: str, sends: str = "own") -> Messages:
    """With weights that change something."""
    torch.manual_seed(0)
    found = Messages(SHAPE, kind, sends=sends)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return found


def test_the_graph_module_gives_the_numbers_of_the_specification() -> None:
    found = golden()
    assert isinstance(found.pairs, GraphMessage)
    cells, before, both = CELL[None], BEFORE[None], slice(None)
    torch.testing.assert_close(
        found.pairs.adjacency(cells, before, both)[0],
        torch.tensor(
            [[0.366460, 0.324371, 0.309169], [0.333287, 0.352836, 0.313878], [0.301654, 0.340795, 0.357552]],
            dtype=torch.float64,
        ),
        atol=1e-6,
        rtol=0,
    )
    torch.testing.assert_close(
        found.pairs.features(cells, before, both)[0],
        torch.tensor(
            [[0.788448, -0.496593, 0.261304], [-0.171596, 0.408718, 0.00666], [-0.3347, 0.109668, -0.147768]],
            dtype=torch.float64,
        ),
        atol=1e-6,
        rtol=0,
    )
    told = found(torch.stack([BEFORE, CELL]))
    assert torch.equal(told[0], BEFORE)
    wanted = [[0.247679, -0.311310], [0.288394, 0.112091], [-0.167278, 0.214598]]
    torch.testing.assert_close(told[1], torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=0)


def test_of_three_cells_the_second_sends_its_own_logits_or_what_it_has_received() -> None:
    logits = torch.stack([BEFORE, CELL, CELL])
    own, received = (golden(sends, cells=3)(logits) for sends in ("own", "received"))
    assert torch.equal(own[1], received[1])
    assert torch.equal(own[2], golden()(torch.stack([CELL, CELL]))[1])
    assert torch.allclose(received[2], golden()(torch.stack([own[1], CELL]))[1], atol=1e-15)
    assert not torch.allclose(own[2], received[2])


def test_every_pair_has_weights_of_its_own() -> None:
    count = {
        kind: sum(p.numel() for p in Messages(SHAPE, kind).parameters())  # type: ignore[arg-type]
        for kind in ("gcn", "linear", "none")
    }
    assert count == {"gcn": 13 * 5_248, "linear": 13 * 40 * 40, "none": 0}
    assert count["gcn"] == 68_224


@pytest.mark.parametrize("kind", ["gcn", "linear", "none"])
@pytest.mark.parametrize("sends", ["own", "received"])
def test_at_first_nothing_changes_and_messages_learn(kind: str, sends: str) -> None:
    found = Messages(SHAPE, kind, sends=sends)  # type: ignore[arg-type]
    logits = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.equal(found(logits), logits)
    alone = Messages((1, 5, 8), kind, sends=sends)  # type: ignore[arg-type]
    assert torch.equal(alone(logits[:1]), logits[:1])
    assert not list(alone.parameters())
    told = busy(kind, sends)
    told(logits).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in told.parameters())
    assert logits.grad is not None


def test_a_message_knows_no_order_of_the_edges_before_but_for_the_residual() -> None:
    found, random = busy("gcn"), torch.Generator().manual_seed(1)
    pairs = found.pairs
    assert isinstance(pairs, GraphMessage)
    cells, before = (torch.randn(13, 5, 8, generator=random) for _ in range(2))
    order = torch.tensor([3, 0, 4, 1, 2])
    spread = pairs.features(cells, before, slice(None)) - before @ pairs.phi1
    turned = pairs.features(cells, before[:, order], slice(None)) - before[:, order] @ pairs.phi1
    torch.testing.assert_close(turned, spread, atol=1e-5, rtol=1e-5)
    turned = pairs.features(cells[:, order], before, slice(None)) - before @ pairs.phi1
    torch.testing.assert_close(turned, spread[:, order], atol=1e-5, rtol=1e-5)


def test_an_unknown_message_is_refused() -> None:
    with pytest.raises(
        InvalidRecipe, match=r"^message 'gnc', did you mean gcn\?; allowed: gcn, linear, none$"
    ):
        Messages(SHAPE, "gnc")  # type: ignore[arg-type]
